"""Int8 models that TensorFlow's tools made, against LiteRT."""

from __future__ import annotations

import numpy as np

import fewbits
import models
from compare import TOP1, max_units, only, sqnr_db, top1_agreement
from references import LiteRt, one_by_one
from results import Suite, require

LARGEST = 2
"""Units that outputs without classes may differ by, a whole network deep."""


def run(suite: Suite) -> None:
    """Rounding `float` against LiteRT as it runs by default, `fixed` against its reference kernels."""
    if not models.available():
        suite.skip("../shared is absent")
        return
    for model in models.PUBLISHED_INT8:
        with suite.check(f"{model.file}, rounding float"):
            _check(suite, model, "float", model.count)
        with suite.check(f"{model.file}, rounding fixed"):
            _check(suite, model, "fixed", model.count // 2)
    with suite.check(models.HYBRID.file):
        _check_hybrid(suite)


def _check(suite: Suite, model: models.Shared, rounding: str, count: int) -> None:
    samples = model.samples(count, 0)
    runtime = LiteRt(model.path, reference=rounding == "fixed")
    if runtime.free_batch():
        theirs = only(runtime.run(samples))
        ours = only(fewbits.run(model.path, samples, "--rounding", rounding))
    else:
        theirs = only(runtime.run_each(samples))
        ours = _run_each(model, samples, rounding)
    units = max_units(ours, theirs)
    agreement = top1_agreement(ours, theirs)
    classes = len(np.unique(theirs.reshape(len(theirs), -1).argmax(1)))
    suite.note(
        f"{model.file}, rounding {rounding}: top-1 agreement {agreement:.4f} on {len(theirs)} samples "
        f"of {classes} classes, largest difference {units} units"
    )
    if rounding == "fixed":
        require(units == 0, f"outputs differ by {units} units from the same arithmetic")
    elif model.classifier:
        require(agreement >= TOP1, f"top-1 agreement {agreement:.4f}, expected at least {TOP1}")
    else:
        require(units <= LARGEST, f"outputs differ by {units} units, expected at most {LARGEST}")


def _check_hybrid(suite: Suite) -> None:
    """LiteRT's own two kernels differ here (one quantizes activations symmetrically, one does not):
    we must be as close to the default as its reference is, or agree."""
    model = models.HYBRID
    samples = model.samples(model.count, 0)
    ours, theirs = only(fewbits.run(model.path, samples)), only(LiteRt(model.path).run(samples))
    reference = only(LiteRt(model.path, reference=True).run(samples))
    agreement, own = top1_agreement(ours, theirs), top1_agreement(reference, theirs)
    text = (
        f"top-1 agreement {agreement:.4f}, {sqnr_db(ours, theirs):.1f} dB on {len(theirs)} samples; "
        f"LiteRT's reference kernels with its default ones {own:.4f}, {sqnr_db(reference, theirs):.1f} dB"
    )
    suite.note(f"{model.file}: {text}")
    require(agreement >= min(TOP1, own), text)


def _run_each(model: models.Shared, samples: models.Samples, rounding: str) -> np.ndarray:
    return only(one_by_one(lambda row: fewbits.run(model.path, row, "--rounding", rounding), samples))
