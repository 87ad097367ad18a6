"""Files that `fewbits train` writes: the runtimes compute what was trained.

The demo's network is trained for a few steps at several widths. Its files must have the accuracy in
LiteRT and ONNX Runtime that the command reports, and our engine's classes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

import fewbits
from compare import TOP1, only, top1_agreement
from references import LiteRt, onnx_runtime
from results import Suite, require

ASSETS = Path(__file__).parents[2] / "crates" / "fewbits" / "assets"

WIDTHS = [(8, 8), (4, 8), (4, 4), (2, 4)]
"""Bits of weights and of activations."""

EXTENSIONS = {2: ["onnx"]}
"""Formats by bits of weights, both by default. LiteRT computes int4 weights in its fixed-point kernels,
which round twice: where an edge of four bits is made from accumulators of two-bit weights, the first
rounding leaves some four binary places, and one element in thirty goes to the next of 16 levels (W2A4:
agreement of 82 % with our engine, 97 % with `--rounding fixed`)."""

TOP1_POINTS = 0.2
"""The runtimes' accuracy may differ by so many percentage points from the one reported: by three of the
digits."""


def run(suite: Suite) -> None:
    """Every width in both formats."""
    with np.load(ASSETS / "digits.npz") as arrays:
        digits = {name: arrays[name] for name in arrays.files}
    labels, samples = digits["labels"], {"image": digits["image"].astype(np.float32)}
    with tempfile.TemporaryDirectory() as directory:
        for weights, activations in WIDTHS:
            for extension in EXTENSIONS.get(weights, ["onnx", "tflite"]):
                name = f"w{weights}a{activations}.{extension}"
                with suite.check(name):
                    _check(suite, Path(directory) / name, weights, activations, samples, labels)


def _check(suite: Suite, output: Path, weights: int, activations: int, samples: dict, labels: np.ndarray) -> None:
    data = ASSETS / "digits.npz"
    words = ["train", ASSETS / "digits_cnn.onnx", "--data", data, "--eval", data, "-o", output, "--json"]
    words += ["--weights", str(weights), "--activations", str(activations), "--steps", "20", "--loss", "labels"]
    report = json.loads(fewbits.command(*words))
    ours = only(fewbits.run(output, samples))
    runtime = onnx_runtime(output, samples, optimize=False) if output.suffix == ".onnx" else LiteRt(output).run(samples)
    theirs = only(runtime)
    agreement = top1_agreement(ours, theirs)
    top1 = float((theirs.reshape(len(labels), -1).argmax(axis=1) == labels).mean())
    text = f"top-1 {report['top1_after']:.4f} reported, {top1:.4f} in the runtime; agreement {agreement:.4f}"
    suite.note(f"{output.name}: {text}")
    require(agreement >= TOP1, text)
    require(abs(top1 - report["top1_after"]) <= TOP1_POINTS / 100, text)
