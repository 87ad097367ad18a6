"""How close two runtimes are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from results import require

RELATIVE = 1e-4
ABSOLUTE = 1e-6
TOP1 = 0.995

Arrays = Mapping[str, np.ndarray]


def require_close(ours: Arrays, theirs: Arrays, relative: float = RELATIVE, absolute: float = ABSOLUTE) -> float:
    """Requires equal names, types and shapes, equal integers, and floats within `relative` of the
    largest magnitude of their tensor. Returns the largest relative difference."""
    require(set(ours) == set(theirs), f"outputs {sorted(ours)}, expected {sorted(theirs)}")
    return max((_require_close(name, ours[name], theirs[name], relative, absolute) for name in theirs), default=0.0)


def _require_close(name: str, ours: np.ndarray, theirs: np.ndarray, relative: float, absolute: float) -> float:
    require(ours.shape == theirs.shape, f"`{name}` has the shape {ours.shape}, expected {theirs.shape}")
    require(ours.dtype == theirs.dtype, f"`{name}` is {ours.dtype}, expected {theirs.dtype}")
    if theirs.dtype.kind != "f":
        wrong = int(np.count_nonzero(ours != theirs))
        require(wrong == 0, f"`{name}`: {wrong} of {theirs.size} elements differ")
        return 0.0
    if theirs.size == 0:
        return 0.0
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    require(np.array_equal(np.isnan(a), np.isnan(b)), f"`{name}`: NaN in other places")
    finite = np.isfinite(b)
    require(np.array_equal(a[~finite], b[~finite], equal_nan=True), f"`{name}`: other infinities")
    scale = float(np.abs(b[finite]).max(initial=0.0))
    difference = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
    require(
        difference <= relative * scale + absolute,
        f"`{name}` differs by {difference:.3g}, {difference / (scale + 1e-30):.2e} of its largest value {scale:.4g}",
    )
    return difference / (scale + 1e-30)


def only(outputs: Arrays) -> np.ndarray:
    """The single output of a model."""
    (array,) = outputs.values()
    return array


def top1_agreement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of rows with the same largest element. Quantized outputs often hold the largest value
    several times; then each of these is a top-1, and it is enough that the engines share one."""
    rows = len(theirs)
    ours, theirs = ours.reshape(rows, -1), theirs.reshape(rows, -1)
    both = (ours == ours.max(1, keepdims=True)) & (theirs == theirs.max(1, keepdims=True))
    return float(np.mean(both.any(1)))


def sqnr_db(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Signal-to-noise ratio of `ours` with `theirs` as the signal, in decibels."""
    signal = float(np.sum(theirs.astype(np.float64) ** 2))
    noise = float(np.sum((ours.astype(np.float64) - theirs.astype(np.float64)) ** 2))
    return 10.0 * np.log10(max(signal, 1e-300) / noise) if noise > 0 else 200.0


def max_units(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Largest difference of two integer tensors."""
    require(ours.shape == theirs.shape, f"shape {ours.shape}, expected {theirs.shape}")
    require(ours.dtype == theirs.dtype, f"type {ours.dtype}, expected {theirs.dtype}")
    return int(np.abs(ours.astype(np.int64) - theirs.astype(np.int64)).max(initial=0))
