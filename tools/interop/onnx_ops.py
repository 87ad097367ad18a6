"""Operators of ONNX models, against ONNX Runtime: one small generated model an attribute set."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

import fewbits
from cases import activation, convolution, elementwise, linear, movement, pooling, reduction, resizing, shapes, spelling
from compare import require_close
from graphs import Case
from references import onnx_runtime
from results import Suite, require

FAMILIES = (convolution, linear, elementwise, activation, spelling, pooling, reduction, movement, shapes, resizing)


REFUSED = {"Resize/* not_larger@18": "rounds a size", "Resize/* not_smaller@18": "rounds a size"}
"""Models that reading refuses, and what it says: keeping the aspect ratio where a size is rounded."""


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
                reason = refusal(case)
                if reason is None:
                    require_close(fewbits.run(path, case.inputs), expected)
                    continue
                try:
                    fewbits.run(path, case.inputs)
                except fewbits.FewbitsError as error:
                    require(reason in str(error), f"refused, but not because it {reason}: {error}")
                else:
                    raise AssertionError("was to be refused and was not")


def refusal(case: Case) -> str | None:
    """Why the model is refused, if it is."""
    return next((why for pattern, why in REFUSED.items() if fnmatch.fnmatch(case.name, pattern)), None)
