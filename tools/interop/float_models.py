"""The shared float models, against ONNX Runtime and LiteRT on the samples they are made for."""

from __future__ import annotations

import fewbits
import models
from compare import Arrays, require_close
from references import LiteRt, onnx_runtime
from results import Suite

COUNT = 8


def run(suite: Suite) -> None:
    """Outputs within 1e-4 of the largest."""
    if not models.available():
        suite.skip("../shared is absent")
        return
    for model in models.FLOAT_MODELS:
        with suite.check(model.file):
            samples = model.samples(COUNT, 0)
            difference = require_close(fewbits.run(model.path, samples), _reference(model, samples))
            suite.note(f"{model.file}: relative difference {difference:.1e} on {COUNT} samples")


def _reference(model: models.Shared, samples: models.Samples) -> Arrays:
    if model.path.suffix == ".onnx":
        return onnx_runtime(model.path, samples)
    return LiteRt(model.path).run(samples)
