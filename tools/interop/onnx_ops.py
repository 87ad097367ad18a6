"""Operators of ONNX models, against ONNX Runtime: one small generated model an attribute set."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

import fewbits
from cases import activation, convolution, elementwise, linear, movement, pooling, reduction, resizing, shapes, spelling
from compare import require_close
from graphs import Case
from references import onnx_runtime
from results import Suite

FAMILIES = (convolution, linear, elementwise, activation, spelling, pooling, reduction, movement, shapes, resizing)


def all_cases() -> Iterator[Case]:
    """Every generated model, with a name of its own."""
    names: set[str] = set()
    for family in FAMILIES:
        for case in family.cases():
            if case.name in names:
                raise ValueError(f"two cases are named `{case.name}`")
            names.add(case.name)
            yield case


def run(suite: Suite) -> None:
    """Runs every generated model in both engines."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.onnx"
        for case in all_cases():
            with suite.check(case.name):
                expected = onnx_runtime(case.model.SerializeToString(), case.inputs)
                onnx.save(case.model, path)
                require_close(fewbits.run(path, case.inputs), expected)
