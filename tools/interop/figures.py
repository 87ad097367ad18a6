"""Prints the figures that README and closing notes quote: accuracy, size and speed of every labelled
shared model in every mode, beside ONNX Runtime's own quantizer. Not part of CI: it takes minutes.

    cargo build --release && .venv/bin/python tools/interop/figures.py
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

import fewbits
import models
from compare import sqnr_db
from foreign import Rows
from references import onnx_runtime
from wordpiece import encode

MODES = ("dynamic", "int8", "float16")
IMAGENET = (
    'images = "{data}/imagenet_500"\nlabels = "{labels}"\n[preprocess]\n'
    'crop_fraction = 0.875\nsize = [224, 224]\ninterpolation = "bicubic"\nmean = {mean}\nstd = {std}\n'
)
CIFAR = 'npy = "{images}"\nlabels = "{labels}"\n[preprocess]\n{rest}'
LABELLED = {
    "efficientnet_lite0_dyn.onnx": IMAGENET.replace("{mean}", "[127, 127, 127]").replace("{std}", "[128, 128, 128]"),
    "mobilenet_v1_025_224_dyn.onnx": IMAGENET.replace("{mean}", "[127.5, 127.5, 127.5]").replace(
        "{std}", "[127.5, 127.5, 127.5]"
    ),
    "resnet20_cifar10_jpegft_dyn.onnx": CIFAR.replace(
        "{rest}", "mean = [123.675, 116.28, 103.53]\nstd = [58.395, 57.12, 57.375]\n"
    ),
    "resnet8_cifar10_float.tflite": CIFAR.replace("{rest}", "scale = 1.0\n"),
}


def evaluate(model: Path, data: Path, *options: str | Path) -> dict[str, float]:
    """What `fewbits evaluate` reports."""
    report: dict[str, float] = json.loads(fewbits.command("evaluate", model, "--data", data, "--json", *options))
    return report


def describe(name: str, folder: Path, part: str, chosen: Callable[[int], bool]) -> Path:
    """A description of the samples whose number is `chosen`."""
    labels, images = folder / f"{part}.csv", folder / f"{part}.npy"
    if "{images}" in LABELLED[name]:
        source = models.DATA / "cifar10_jpegq75"
        x, y = np.load(source / "test5000_x_u8_nhwc.npy"), np.load(source / "test5000_y_u8.npy")
        mask = np.array([chosen(i) for i in range(len(x))])
        labels = folder / f"{part}_labels.npy"
        np.save(images, x[mask])
        np.save(labels, y[mask])
    else:
        lines = (models.DATA / "imagenet_500" / "labels.csv").read_text(encoding="utf-8").splitlines()
        labels.write_text("".join(f"{line}\n" for i, line in enumerate(lines) if chosen(i)), encoding="utf-8")
    text = LABELLED[name].replace("{data}", str(models.DATA))
    file = folder / f"{name}.{part}.toml"
    file.write_text(text.replace("{labels}", str(labels)).replace("{images}", str(images)))
    return file


def accuracy(folder: Path) -> None:
    """Top-1 of float and quantized models on all labelled images but the 100 of calibration. Where
    data is optional, without it and with it."""
    print("model  mode  data  format  ratio  top-1  float  agreement  SQNR dB  samples")
    for name in LABELLED:
        model, every = models.MODELS / name, 50 if "{images}" in LABELLED[name] else 5
        calibration = describe(name, folder, "calibration", lambda i, n=every: i % n == 0)
        data = describe(name, folder, "evaluation", lambda i, n=every: i % n != 0)
        exact = evaluate(model, data)
        for mode, given in [(mode, given) for mode in MODES for given in (False, True) if given or mode != "int8"]:
            for extension in (".onnx", ".tflite"):
                output = folder / f"{Path(name).stem}.{mode}{extension}"
                options = ["--data", calibration, "--eval", calibration] if given else []
                fewbits.quantize(model, output, mode, *options)
                got = evaluate(output, data, "--reference", model)
                ratio = output.stat().st_size / model.stat().st_size
                print(
                    f"{name}  {mode}  {'100' if given else '-'}  {extension}  {ratio:.4f}  {got['top1']:.4f}  "
                    f"{exact['top1']:.4f}  {got['agreement']:.4f}  {got['sqnr_db']:.2f}  {got['samples']}",
                    flush=True,
                )


def four_bits(folder: Path) -> None:
    """Top-1 of int8 models whose weights have four bits, by how these were rounded."""
    print("model  rounding of 4-bit weights  top-1  float  agreement  SQNR dB  samples")
    plain = ("--weight-scales", "max", "--weight-rounding", "nearest")
    for name in LABELLED:
        every = 50 if "{images}" in LABELLED[name] else 5
        calibration = describe(name, folder, "calibration", lambda i, n=every: i % n == 0)
        data = describe(name, folder, "evaluation", lambda i, n=every: i % n != 0)
        exact = evaluate(models.MODELS / name, data)
        output = folder / f"{Path(name).stem}.w4.onnx"
        for label, flags in (("min-max", plain), ("balanced", ()), ("learned", ("--weight-rounding", "learned"))):
            options = ["--data", calibration, "--eval", calibration, "--weights", "4", *flags]
            fewbits.quantize(models.MODELS / name, output, "int8", *options)
            got = evaluate(output, data, "--reference", models.MODELS / name)
            print(
                f"{name}  {label}  {got['top1']:.4f}  {exact['top1']:.4f}  {got['agreement']:.4f}  "
                f"{got['sqnr_db']:.2f}  {got['samples']}",
                flush=True,
            )


def onnx_runtime_beside(folder: Path) -> None:
    """ONNX Runtime's per-channel min-max on 100 calibration images of EfficientNet-Lite0; without its
    graph optimisations, whose AVX2 kernels saturate."""
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    model = models.MODELS / "efficientnet_lite0_dyn.onnx"
    samples = {"input": (models.channels_first(models.imagenet(500)) - 127.0) / 128.0}
    # The same spread of 100 over 500 that `fewbits quantize` takes.
    chosen = {name: array[::5] for name, array in samples.items()}
    output = folder / "ort.onnx"
    quantize_static(
        model, output, Rows(chosen), per_channel=True, activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
    )
    exact = next(iter(onnx_runtime(model, samples).values()))
    got = next(iter(onnx_runtime(output, samples, optimize=False).values()))
    agreement = float((exact.argmax(1) == got.argmax(1)).mean())
    print(f"ONNX Runtime min-max per channel on EfficientNet-Lite0: agreement {agreement:.4f}, {sqnr_db(got, exact):.2f} dB")


def similarity(folder: Path) -> None:
    """Spearman correlation of MiniLM's cosine similarities with STS-B's scores, on the 1,400 pairs whose
    sentences int8 was not calibrated on."""
    rows = (models.DATA / "stsb" / "sts-dev.csv").read_text(encoding="utf-8").splitlines()
    every = [row.split("\t") for row in rows]
    pairs = [pair for i, pair in enumerate(every) if i % 15]
    calibration = folder / "minilm.npz"
    np.savez(calibration, **encode([pair[5] for pair in every[::15]], models.MODELS / "vocab.txt", 64))
    scores = np.array([float(row[4]) for row in pairs])
    model = models.MODELS / "minilm_l6_dyn.onnx"
    files = {"float": model}
    for mode in MODES:
        files[mode] = folder / f"minilm.{mode}.onnx"
        data = ["--data", calibration, "--eval", calibration] if mode == "int8" else []
        fewbits.quantize(model, files[mode], mode, *data)
    files["4-bit weights in blocks of 32"] = folder / "minilm.w4.onnx"
    fewbits.quantize(model, folder / "minilm.w4.onnx", "weight-only", "--weights", "4", "--block", "32")
    for mode, file in files.items():
        left, right = (_embed(file, [row[i] for row in pairs]) for i in (5, 6))
        cosine = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
        ratio = file.stat().st_size / model.stat().st_size
        print(f"MiniLM  {mode}  {ratio:.4f}  Spearman {_spearman(cosine, scores):.4f}  {len(scores)} pairs", flush=True)


def _embed(file: Path, texts: list[str]) -> np.ndarray:
    parts = []
    for start in range(0, len(texts), 100):
        inputs = encode(texts[start : start + 100], models.MODELS / "vocab.txt", 64)
        longest = int(inputs["attention_mask"].sum(1).max())
        outputs = fewbits.run(file, {name: array[:, :longest] for name, array in inputs.items()})
        parts.append(next(iter(outputs.values())))
    return np.concatenate(parts)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return ((ends - (counts - 1) / 2.0) - 1.0)[inverse]


def speed(folder: Path) -> None:
    """Medians on one thread, ours and ONNX Runtime's float taken in turns."""
    model = models.MODELS / "efficientnet_lite0_dyn.onnx"
    data = describe(model.name, folder, "speed", lambda i: i % 5 == 0)
    int8 = folder / "speed.int8.onnx"
    fewbits.quantize(model, int8, "int8", "--data", data)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    image = {"input": np.zeros((1, 3, 224, 224), np.float32)}
    taken: dict[str, list[float]] = {"float": [], "int8": [], "ONNX Runtime float": []}
    for _ in range(5):
        for name, file in (("float", model), ("int8", int8)):
            report = json.loads(fewbits.command("bench", file, "--json", "--threads", "1", "--input-shape", "input=1x3x224x224"))
            taken[name].append(report["median_ms"])
        times = []
        for _ in range(30):
            start = time.perf_counter()
            session.run(None, image)
            times.append(1e3 * (time.perf_counter() - start))
        taken["ONNX Runtime float"].append(statistics.median(times))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print("EfficientNet-Lite0, one thread, ms:", {name: round(ms, 2) for name, ms in medians.items()})
    print(f"int8 against our float: {medians['float'] / medians['int8']:.2f} times as fast")
    print(f"our float against ONNX Runtime's: {medians['float'] / medians['ONNX Runtime float']:.2f} of its time")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        for part in (speed, accuracy, four_bits, onnx_runtime_beside, similarity):
            part(Path(directory))
