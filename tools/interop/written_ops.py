"""Float operators of the files that we write, against the runtimes: each generated ONNX model, read
and written again with half-precision weights."""

from __future__ import annotations

import fnmatch
import tempfile
from pathlib import Path

import onnx

import fewbits
from compare import Arrays, require_close
from graphs import Case
from onnx_ops import all_cases, refusal
from references import LiteRt, onnx_runtime
from results import Suite

OPSET = 17
"""Reading other versions is not writing's concern; models of this one or newer are written."""

REFUSED_BY_TFLITE = (
    "ConvTranspose/dilated*",
    "ConvTranspose/groups*",
    "ConvTranspose/depthwise*",
    "Mod/fmod*",
    "Erf/*",
    "Div/int64*",
    "Abs/int64*",
    "*Pool/dilated*",
    "Arg*/last of equals*",
    "Pad/edge*",
    "Pad/wrap*",
    "Pad/negative*",
    "GatherElements/*",
    "ScatterND/*",
    "Resize/*cubic*",
    "Resize/*nearest*",
    "Resize/*pytorch_half_pixel*",
    "Resize/to one pixel*",
    "Resize/* down@*",
    "Resize/* fraction@*",
)
"""Models that TFLite has no form of (its nearest neighbour knows three of the sixteen roundings):
writing them may be refused, in words that say so."""


def run_onnx(suite: Suite) -> None:
    """Writes each model as ONNX."""
    _run(suite, ".onnx")


def run_tflite(suite: Suite) -> None:
    """Writes each model as TFLite, or is refused where it may be."""
    _run(suite, ".tflite")


def _run(suite: Suite, extension: str) -> None:
    refused = 0
    with tempfile.TemporaryDirectory() as directory:
        model, output = Path(directory) / "model.onnx", Path(directory) / f"written{extension}"
        for case in all_cases():
            if case.model.opset_import[0].version < OPSET or refusal(case) is not None:
                continue
            with suite.check(case.name):
                onnx.save(case.model, model)
                if not _write(case, model, output):
                    refused += 1
                    continue
                require_close(fewbits.run(output, case.inputs), _runtime(output, case))
    if refused:
        suite.note(f"{refused} models were refused, since the format has no form of them")


def _write(case: Case, model: Path, output: Path) -> bool:
    """Whether the model was written; otherwise it was refused, and may be."""
    tflite = output.suffix == ".tflite"
    try:
        fewbits.quantize(model, output, "float16", *(_fixed_shapes(case) if tflite else []))
    except fewbits.FewbitsError as error:
        expected = any(fnmatch.fnmatch(case.name, pattern) for pattern in REFUSED_BY_TFLITE)
        if tflite and expected and "cannot be written to TFLite" in str(error):
            return False
        raise
    return True


def _fixed_shapes(case: Case) -> list[str]:
    """Options that fix the inputs' shapes: TFLite computes with one free dimension, not with more."""
    free = any(d.dim_param for i in case.model.graph.input for d in i.type.tensor_type.shape.dim)
    shapes = [f"{name}={'x'.join(map(str, array.shape))}" for name, array in case.inputs.items()]
    return ["--input-shape", *shapes] if free else []


def _runtime(file: Path, case: Case) -> Arrays:
    if file.suffix == ".onnx":
        return onnx_runtime(file, case.inputs)
    return LiteRt(file).run(case.inputs)
