"""C that `fewbits export` writes, byte for byte against LiteRT's reference kernels."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx

import fewbits
import int8_ops
import models
from c_model import CModel
from cases import quantizable
from graphs import Case
from references import LiteRt
from results import Suite, require

SAMPLES = 200
"""Real inputs that whole models are compared on."""

SLOW = {"tf2_mobilenet_v2_1.0_224_ptq.tflite": 10, "vww_96_int8.tflite": 100, "mobilenet_v1_025_224_dyn.onnx": 50}
"""Fewer for models that take minutes under the sanitizers, unless the environment has EMIT_C_ALL."""

REFUSED = {
    "LogSoftmax/2-D@17",
    "LogSoftmax/3-D@17",
    "LpNormalization/last axis@17",
    "PRelu/by channel@17",
    "Pad/reflect@17",
    "ReduceSum/last@17",
    "ReduceSum/spatial@17",
}
"""Operators without C, which are refused by name."""

CALIBRATION = 48

MICROCONTROLLER = {
    "mobilenet_v1_025_224_dyn.onnx",
    "resnet20_cifar10_dyn.onnx",
    "resnet8_cifar10_float.tflite",
    "vww_96_float.tflite",
    "ad01_float.tflite",
    "hello_world_float.tflite",
}
"""Float models whose int8 form is of a microcontroller's size."""


def run(suite: Suite) -> None:
    """Operators one by one, then whole models."""
    for compiler in ("cc", "g++"):
        if shutil.which(compiler) is None:
            suite.skip(f"there is no {compiler}")
            return
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        _operators(suite, folder)
        if not models.available():
            suite.skip("../shared is absent")
            return
        for model in models.PUBLISHED_INT8:
            with suite.check(model.file):
                _check(suite, model.path, model.samples(_samples(model), 0), folder / model.path.stem)
        for model in models.FLOAT_MODELS:
            if model.file in MICROCONTROLLER:
                with suite.check(f"{model.file} quantized to int8"):
                    _quantized(suite, model, folder / f"{model.path.stem}.own")


def _samples(model: models.Shared) -> int:
    return SAMPLES if "EMIT_C_ALL" in os.environ else SLOW.get(model.file, SAMPLES)


def _operators(suite: Suite, folder: Path) -> None:
    for case in quantizable.cases():
        with suite.check(case.name):
            written = _operator(case, folder / f"op{case.name}".replace("/", "_"))
            require(written != (case.name in REFUSED), "is refused" if not written else "is written now: take it out")


def _operator(case: Case, folder: Path) -> bool:
    folder.mkdir()
    model, data, output = folder / "model.onnx", folder / "data.npz", folder / "model.tflite"
    onnx.save(case.model, model)
    np.savez(data, **int8_ops._calibration(case))
    fewbits.quantize(model, output, "int8", "--io", "int8", "--data", data)
    operators = {node.op_type for node in case.model.graph.node}
    try:
        built = CModel(output, folder / "c")
    except fewbits.FewbitsError as error:
        require("cannot be written as integer C" in str(error), str(error))
        return False
    runtime = LiteRt(output, reference=not operators & int8_ops.NOT_IN_REFERENCE)
    worst, differing, total = 0, 0, 0
    for seed in range(int8_ops.RUNS):
        inputs = int8_ops._inputs(case, runtime, seed)
        theirs = list(runtime.run(inputs).values())
        names = [port["name"] for port in built.inputs]
        ours = built.run({name: inputs[name][None] for name in names})
        for a, b in zip(ours, theirs, strict=True):
            units = np.abs(a.ravel().astype(int) - b.ravel().astype(int))
            worst, differing, total = max(worst, units.max()), differing + np.count_nonzero(units), total + units.size
    require(worst == 0, f"differs by up to {worst} units in {differing} of {total} elements")
    return True


def _quantized(suite: Suite, model: models.Shared, folder: Path) -> None:
    folder.mkdir()
    data, output = folder / "data.npz", folder / "model.tflite"
    np.savez(data, **model.samples(CALIBRATION + 8, SAMPLES))
    options: list[str | Path] = ["--data", data, "--samples", str(CALIBRATION), "--io", "int8"]
    samples = model.samples(_samples(model), 0)
    options += ["--input-shape", *(f"{n}=" + "x".join(map(str, (1, *a.shape[1:]))) for n, a in samples.items())]
    fewbits.quantize(model.path, output, "int8", *options)
    details = {detail["name"]: detail for detail in LiteRt(output, reference=True).inputs()}
    integers = {}
    for name, array in samples.items():
        scale, zero_point = details[name]["quantization"]
        integers[name] = np.clip(np.rint(array / scale) + zero_point, -128, 127).astype(np.int8)
    _check(suite, output, integers, folder, model.file)


def _check(suite: Suite, model: Path, samples: models.Samples, folder: Path, name: str | None = None) -> None:
    built = CModel(model, folder / "c")
    theirs = list(LiteRt(model, reference=True).run_each(samples).values())
    ours = built.run(samples)
    for a, b in zip(ours, theirs, strict=True):
        units = np.abs(a.astype(int) - b.reshape(a.shape).astype(int))
        rows = np.count_nonzero(units.any(axis=1))
        require(units.max() == 0, f"differs by up to {units.max()} units, in {rows} of {len(units)} samples")
    report = built.report
    suite.note(
        f"{name or model.name}: identical on {len(theirs[0])} samples; arena {report['arena']}, constants "
        f"{report['constants']}, code about {report['code']} bytes, {report['macs']} MACs"
    )
