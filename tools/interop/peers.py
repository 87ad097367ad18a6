"""Prints one table: int8 models (weights per channel, activations per tensor) that we and other quantizers
made of the shared float models with the same calibration samples, by their closeness to the float model on
the same held-out samples. Not part of CI: it takes minutes.

    cargo build --release && .venv/bin/python tools/interop/peers.py --nncf /tmp/venv_nncf/bin/python

Every quantized file runs in the runtime that its format means: ONNX files in ONNX Runtime without graph
optimisations (its fused AVX2 kernels saturate in 16 bits), TFLite files in LiteRT's reference kernels. Ours
run there, too. NNCF and ai-edge-quantizer each live in an environment of their own:

    python3 -m venv /tmp/venv_nncf && /tmp/venv_nncf/bin/pip install nncf==3.4.0 openvino==2026.4.1 onnx==1.23.2
    python3 -m venv /tmp/venv_aiedge && /tmp/venv_aiedge/bin/pip install ai-edge-quantizer==0.10.0

A peer that is missing is left out with a line that says so. So is one that fails on a model.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fewbits
import models
from compare import only, sqnr_db, top1_agreement
from references import LiteRt, onnx_runtime

CALIBRATION, HELD_OUT = 100, 200

NNCF = """
import sys, numpy as np, onnx, nncf
model, output, data, accurate, transformer = sys.argv[1:]
samples = dict(np.load(data)); count = len(next(iter(samples.values())))
rows = nncf.Dataset([{k: v[i:i + 1] for k, v in samples.items()} for i in range(count)])
kind = nncf.ModelType.TRANSFORMER if transformer == "1" else None
quantized = nncf.quantize(onnx.load(model), rows, subset_size=count, fast_bias_correction=accurate == "0",
                          preset=nncf.QuantizationPreset.MIXED, model_type=kind)
onnx.save(quantized, output)
"""

AI_EDGE = """
import sys, numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer, recipe
from ai_edge_quantizer.utils import tfl_flatbuffer_utils as files
model, output, data = sys.argv[1:]
samples = dict(np.load(data)); count = len(next(iter(samples.values())))
graph = files.read_model(model)
if not graph.signatureDefs:  # It calibrates through a signature only.
    def named(indices):
        maps = []
        for i in indices:
            entry = schema.TensorMapT(); entry.name = graph.subgraphs[0].tensors[i].name; entry.tensorIndex = i
            maps.append(entry)
        return maps
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = named(graph.subgraphs[0].inputs)
    signature.outputs = named(graph.subgraphs[0].outputs)
    graph.signatureDefs = [signature]
    model = output + ".signed.tflite"
    files.write_model(graph, model)
signature = graph.signatureDefs[0]
text = lambda name: name.decode() if isinstance(name, bytes) else name
names = [text(entry.name) for entry in signature.inputs]
rows = [{n: v[i:i + 1] for n, v in zip(names, samples.values())} for i in range(count)]
tool = quantizer.Quantizer(model, recipe.static_wi8_ai8())
ranges = tool.calibrate({text(signature.signatureKey): rows})
tool.quantize(ranges).export_model(output, overwrite=True)
"""


class Missing(Exception):
    """A peer that cannot be asked, with the reason."""


Make = Callable[[models.Shared, models.Samples, Path], None]
"""Writes the quantized file of a model."""


def ours(*flags: str) -> Make:
    """This repository's quantizer."""

    def make(model: models.Shared, samples: models.Samples, output: Path) -> None:
        data = output.with_suffix(".npz")
        np.savez(data, **samples)
        count = str(len(next(iter(samples.values()))))
        fewbits.quantize(model.path, output, "int8", "--data", data, "--eval", data, "--samples", count, *flags)

    return make


def onnx_runtime_static(method: str) -> Make:
    """ONNX Runtime's static quantization: int8 activations and weights as Q/DQ, per channel."""

    def make(model: models.Shared, samples: models.Samples, output: Path) -> None:
        from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        from foreign import Rows

        prepared = output.with_suffix(".prepared.onnx")
        quant_pre_process(str(model.path), str(prepared), skip_symbolic_shape=True)
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                str(prepared), str(output), Rows(samples), per_channel=True, activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod[method],
            )  # fmt: skip

    return make


def script(python: Path, module: str, text: str, flags: Callable[[models.Shared], list[str]]) -> Make:
    """A quantizer in another environment."""

    def make(model: models.Shared, samples: models.Samples, output: Path) -> None:
        if not python.is_file():
            raise Missing(f"{python} is absent")
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode:
            raise Missing(f"{python} has no {module}")
        data = output.with_suffix(".npz")
        np.savez(data, **samples)
        command = [python, "-c", text, model.path, output, data, *flags(model)]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message")

    return make


def peers(options: argparse.Namespace, extension: str) -> dict[str, Make]:
    """The quantizers that write a format, by name."""
    own = {"fewbits": ours(), "fewbits learned": ours("--weight-rounding", "learned")}
    if extension == ".tflite":
        return own | {"ai-edge-quantizer": script(options.ai_edge, "ai_edge_quantizer", AI_EDGE, lambda _: [])}

    def nncf(accurate: str) -> Make:
        return script(options.nncf, "nncf", NNCF, lambda m: [accurate, str(int(m.file.startswith("minilm")))])

    ort = {f"ONNX Runtime {m.lower()}": onnx_runtime_static(m) for m in ("MinMax", "Percentile", "Entropy")}
    return own | ort | {"NNCF": nncf("0"), "NNCF accurate bias": nncf("1")}


def outputs(file: Path, samples: models.Samples) -> np.ndarray:
    """The model's output on all samples, one by one, as real numbers."""
    if file.suffix == ".onnx":
        return only(onnx_runtime(file, samples, optimize=False, each=True)).astype(np.float64)
    runner = LiteRt(file, reference=True)
    named = {d["name"]: _stored(a, d) for d, a in zip(runner.inputs(), samples.values(), strict=True)}
    scale, zero = runner.outputs()[0]["quantization"]
    got = only(runner.run_each(named)).astype(np.float64)
    return (got - zero) * scale if scale else got


def _stored(array: np.ndarray, detail: dict) -> np.ndarray:
    """Real numbers as an input stores them."""
    scale, zero = detail["quantization"]
    if not scale or detail["dtype"] == np.float32:
        return array
    kind = np.iinfo(detail["dtype"])
    return np.clip(np.rint(array / scale) + zero, kind.min, kind.max).astype(detail["dtype"])


def rows(model: models.Shared, options: argparse.Namespace, folder: Path) -> None:
    """One model with all quantizers."""
    every = model.samples(options.calibration + options.held_out, 0)
    # Spread, so that both halves hold all classes.
    share = (options.calibration + options.held_out) / options.calibration
    count = len(next(iter(every.values())))
    chosen = np.isin(np.arange(count), (np.arange(options.calibration) * share).astype(int))
    calibration = {name: a[chosen] for name, a in every.items()}
    held_out = {name: a[~chosen] for name, a in every.items()}
    exact = outputs(model.path, held_out)
    for name, make in peers(options, model.path.suffix).items():
        if options.peers and not any(wanted in name for wanted in options.peers):
            continue
        output = folder / f"{name.replace(' ', '_')}{model.path.suffix}"
        try:
            make(model, calibration, output)
            got = outputs(output, held_out)
        except Missing as missing:
            print(f"{model.file}  {name}  left out: {missing}", flush=True)
            continue
        except Exception as error:  # A peer that fails is a result, too.
            print(f"{model.file}  {name}  fails: {str(error).splitlines()[0][:160]}", flush=True)
            continue
        agreement = f"{100 * top1_agreement(got, exact):.1f}" if model.classifier else "-"
        print(f"{model.file}  {name}  {agreement}  {sqnr_db(got, exact):.2f}  {len(exact)}", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="int8 models of several quantizers side by side")
    parser.add_argument("--models", nargs="*", help="parts of file names [all with data]")
    parser.add_argument("--peers", nargs="*", help="parts of quantizers' names [all]")
    parser.add_argument("--calibration", type=int, default=CALIBRATION, help="calibration samples")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="samples to measure on")
    parser.add_argument("--nncf", type=Path, default=Path("/tmp/venv_nncf/bin/python"), help="its Python")
    parser.add_argument("--ai-edge", type=Path, default=Path("/tmp/venv_aiedge/bin/python"), help="its Python")
    parser.add_argument("--binary", type=Path, default=fewbits.BINARY, help="the fewbits to measure")
    options = parser.parse_args()
    fewbits.BINARY = options.binary
    logging.getLogger().setLevel(logging.ERROR)  # The quantizers' advice is not for us.
    if not models.available():
        sys.exit("../shared is absent")
    print("model  quantizer  agreement %  SQNR dB  samples")
    for model in models.FLOAT_MODELS:
        if not options.models or any(part in model.file for part in options.models):
            with tempfile.TemporaryDirectory() as folder:
                rows(model, options, Path(folder))


if __name__ == "__main__":
    main()
