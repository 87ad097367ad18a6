"""Files that `fewbits quantize` writes, loaded by the runtime they are meant for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import fewbits
import models
from compare import TOP1, only, sqnr_db, top1_agreement
from references import LiteRt, onnx_runtime
from results import Suite, require

CALIBRATION = 48
"""Samples that ranges are chosen from: enough for files to be compared, not for a figure of accuracy."""

LARGE = 500_000
"""Bytes above which a model's weights dominate its file, and the size rules hold."""

RATIOS = {"dynamic": 0.27, "int8": 0.27, "float16": 0.51}

OVER = {
    "mobilenet_v1_025_224_dyn.dynamic.tflite": 0.2740,
    "mobilenet_v1_025_224_dyn.int8.tflite": 0.2790,
    "ad01_float.int8.tflite": 0.2770,
    "vww_96_float.dynamic.onnx": 0.3240,
    "vww_96_float.dynamic.tflite": 0.3060,
    "vww_96_float.int8.onnx": 0.3250,
    "vww_96_float.int8.tflite": 0.3110,
    "vww_96_float.float16.onnx": 0.5460,
    "vww_96_float.float16.tflite": 0.5290,
}
"""Files that miss the size rules, and by how much they may not grow. One scale a channel (weights,
and biases, without whose scales LiteRT takes its slow kernels) costs 12 to 20 bytes where a channel of
a small network has some hundred weights; biases and small constants stay float32 in float16 files;
VWW's names alone are 14 KB of 866."""

CLOSE_DB = {"dynamic": 15.0, "int8": 20.0, "hybrid": 15.0, "float16": 60.0}
"""For models without classes: least signal-to-noise ratio between the runtimes on one file. Both
round activations to 8 bits at slightly different places, and those differences add up with depth;
in dynamic ONNX files one scale is for a whole tensor, where our engine takes one for each row, so
ONNX Runtime gets one sample at a time (and an encoder's rows, its tokens, still share a scale).
Hybrid are the int8 files of encoders, with such layers where the residual stream is fed."""

HYBRID = {"minilm_l6_dyn.onnx"}

NUDGE = np.float32(1 + 3e-7)
"""Moves float inputs by two or three units in the last place. Where a network is sensitive, one
activation that rounds the other way reaches near-ties of the result: the runtime then disagrees with
itself (MobileNetV1-0.25, dynamic: 98.5 % of 400 images), and no other engine can be asked for more."""


def run(suite: Suite) -> None:
    """Every shared float model in every mode and format."""
    if not models.available():
        suite.skip("../shared is absent")
        return
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for model in models.FLOAT_MODELS:
            _check_model(suite, model, folder)


def _check_model(suite: Suite, model: models.Shared, folder: Path) -> None:
    data = _calibration(model, folder)
    samples = model.samples(model.count, CALIBRATION)
    exact = only(_float_outputs(model, samples))
    for mode in RATIOS:
        for extension in (".onnx", ".tflite"):
            output = folder / f"{model.path.stem}.{mode}{extension}"
            with suite.check(output.name):
                _write(model, data, samples, mode, output)
                _check_outputs(suite, model, samples, exact, mode, output)
            if output.exists() and model.path.stat().st_size > LARGE:
                with suite.check(f"{output.name} size"):
                    ratio = output.stat().st_size / model.path.stat().st_size
                    limit = OVER.get(output.name, RATIOS[mode])
                    require(ratio <= limit, f"ratio {ratio:.4f}, expected at most {limit}")
            output.unlink(missing_ok=True)
    data.unlink()


def _calibration(model: models.Shared, folder: Path) -> Path:
    """Calibration samples in the way that suits the model: images by a description, else arrays."""
    data = folder / f"{model.path.stem}.toml"
    if model.file.startswith("efficientnet_lite0"):
        data.write_text(
            f'images = "{models.DATA / "imagenet_500"}"\n'
            f'labels = "{models.DATA / "imagenet_500" / "labels.csv"}"\n'
            '[preprocess]\ncrop_fraction = 0.875\nsize = [224, 224]\ninterpolation = "bicubic"\n'
            "mean = [127, 127, 127]\nstd = [128, 128, 128]\n"
        )
        return data
    data = data.with_suffix(".npz")
    # Some more than calibration takes: the command's summary is measured on what is left.
    np.savez(data, **model.samples(CALIBRATION + 8, 0))
    return data


def _write(model: models.Shared, data: Path, samples: models.Samples, mode: str, output: Path) -> None:
    options: list[str | Path] = ["--data", data, "--samples", str(CALIBRATION)] if mode == "int8" else []
    if model.fix_for_tflite and output.suffix == ".tflite":
        options += ["--input-shape", *(f"{name}={'x'.join(map(str, a.shape))}" for name, a in samples.items())]
    fewbits.quantize(model.path, output, mode, *options)


def _check_outputs(
    suite: Suite, model: models.Shared, samples: models.Samples, exact: np.ndarray, mode: str, output: Path
) -> None:
    ours, theirs = only(fewbits.run(output, samples)), only(_runtime(output, samples, mode))
    require(ours.shape == theirs.shape, f"shape {ours.shape}, the runtime has {theirs.shape}")
    require(bool(np.isfinite(theirs).all()), "the runtime's output is not finite")
    agreement, closeness = top1_agreement(ours, theirs), sqnr_db(ours, theirs)
    our_error, their_error = sqnr_db(ours, exact), sqnr_db(theirs, exact)
    text = (
        f"top-1 agreement {agreement:.4f}, {closeness:.1f} dB on {len(theirs)} samples; "
        f"against float: ours {our_error:.1f} dB, the runtime {their_error:.1f} dB"
    )
    suite.note(f"{output.name}: ratio {output.stat().st_size / model.path.stat().st_size:.3f}, {text}")
    if not model.classifier:
        close = CLOSE_DB["hybrid" if mode == "int8" and model.file in HYBRID else mode]
        require(closeness >= close, f"{text}; expected {close} dB between them")
    elif agreement < TOP1:
        nudged = {name: array * NUDGE for name, array in samples.items()}
        own = top1_agreement(only(_runtime(output, nudged, mode)), theirs)
        suite.note(f"{output.name}: the runtime agrees with itself on {own:.4f} if its inputs move by 3e-7")
        require(agreement >= own - 1.0 / len(theirs), f"{text}; expected agreement of {TOP1}")


def _float_outputs(model: models.Shared, samples: models.Samples) -> dict[str, np.ndarray]:
    if model.path.suffix == ".onnx":
        return onnx_runtime(model.path, samples)
    return LiteRt(model.path).run(samples)


def _runtime(file: Path, samples: models.Samples, mode: str) -> dict[str, np.ndarray]:
    if file.suffix == ".onnx":
        return onnx_runtime(file, samples, optimize=False, each=mode == "dynamic")
    return LiteRt(file).run(samples)
