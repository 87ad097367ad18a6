"""Int8 operators of the TFLite files that we write, against LiteRT's reference kernels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx

import fewbits
from cases import quantizable
from compare import max_units
from graphs import Case
from references import LiteRt
from results import Suite, require

CALIBRATION = 24
"""Batches that ranges are chosen from."""

RUNS = 6
"""Batches compared: half like the calibration's, half any int8 numbers."""

NOT_IN_REFERENCE = {"Elu", "Tile", "DepthToSpace", "ReduceSum"}
"""Operators whose int8 form LiteRT's reference kernels lack, or have wrong (SUM gives -1 for every
element, where the default kernel and real arithmetic agree): the default kernels stand in."""

LARGEST = (1, 0)
"""Units that a result may differ by, with rounding float and with fixed: fixed is the same arithmetic."""


def run(suite: Suite) -> None:
    """Quantizes models of one operator and runs them with both roundings."""
    exact = 0
    with tempfile.TemporaryDirectory() as directory:
        for case in quantizable.cases():
            with suite.check(case.name):
                units = _check(case, Path(directory))
                exact += units == (0, 0)
                if suite.verbose or max(units) > 0:
                    suite.note(f"{case.name}: largest difference {units[0]} (rounding float), {units[1]} (fixed)")
    suite.note(f"{exact} operators are exact with both roundings")


def _check(case: Case, folder: Path) -> tuple[int, int]:
    model, data, output = folder / "model.onnx", folder / "data.npz", folder / "model.tflite"
    onnx.save(case.model, model)
    np.savez(data, **_calibration(case))
    fewbits.quantize(model, output, "int8", "--io", "int8", "--data", data)
    operators = {node.op_type for node in case.model.graph.node}
    runtime = LiteRt(output, reference=not operators & NOT_IN_REFERENCE)
    floats = [tensor["name"] for tensor in runtime.tensors() if tensor["dtype"] == np.float32]
    require(not floats, f"float tensors in the file: {floats}")
    units = [0, 0]
    for seed in range(RUNS):
        inputs = _inputs(case, runtime, seed)
        theirs = runtime.run(inputs)
        for i, rounding in enumerate(("float", "fixed")):
            ours = fewbits.run(output, inputs, "--rounding", rounding)
            require(set(ours) == set(theirs), f"outputs {sorted(ours)}, LiteRT has {sorted(theirs)}")
            units[i] = max(units[i], *(max_units(ours[name], theirs[name]) for name in theirs))
    within = all(u <= most for u, most in zip(units, LARGEST, strict=True))
    require(within, f"differs by {units[0]} units with rounding float, by {units[1]} with fixed")
    return units[0], units[1]


def _like(value: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random floats of the same shape and spread."""
    return (generator.standard_normal(value.shape) * value.std() + value.mean()).astype(np.float32)


def _calibration(case: Case) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    return {
        name: np.concatenate([_like(value, generator) for _ in range(CALIBRATION)])
        for name, value in case.inputs.items()
    }


def _inputs(case: Case, runtime: LiteRt, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([seed, 2])
    details = {detail["name"]: detail for detail in runtime.inputs()}
    inputs = {}
    for name, value in case.inputs.items():
        scale, zero_point = details[name]["quantization"]
        if seed % 2:
            inputs[name] = generator.integers(-128, 128, value.shape).astype(np.int8)
        else:
            quantized = np.rint(_like(value, generator) / scale) + zero_point
            inputs[name] = np.clip(quantized, -128, 127).astype(np.int8)
    return inputs
