"""Resize and Upsample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphs import Case, Const, Input, ints, normal, single

X = normal(1, 3, 5, 7)
COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def cases() -> Iterator[Case]:
    """All of this module's models."""
    yield from _modes()
    yield from _cubic()
    yield from _versions()
    yield from _upsample()


def _scales(*values: float) -> Const:
    return Const(np.array(values, np.float32))


def _resize(name: str, scales: tuple[float, float] | None, sizes: tuple[int, int] | None, **rest: Any) -> Case:
    operands = [None, _scales(1, 1, *scales)] if scales else [None, None, ints(1, 3, *(sizes or ()))]
    return single(name, "Resize", X, *operands, **rest)


def _modes() -> Iterator[Case]:
    for coordinates in COORDINATES:
        mode = {"coordinate_transformation_mode": coordinates}
        for rounding in ROUNDINGS:
            name = f"nearest {coordinates} {rounding}"
            yield _resize(f"{name} up", (2, 3), None, nearest_mode=rounding, **mode)
            yield _resize(f"{name} down", (0.6, 0.5), None, nearest_mode=rounding, **mode)
            yield _resize(f"{name} sizes", None, (8, 3), nearest_mode=rounding, **mode)
        for kind in ("linear", "cubic"):
            yield _resize(f"{kind} {coordinates} up", (2, 3), None, mode=kind, **mode)
            yield _resize(f"{kind} {coordinates} fraction", (1.7, 2.3), None, mode=kind, **mode)
            yield _resize(f"{kind} {coordinates} down", (0.6, 0.5), None, mode=kind, **mode)
            yield _resize(f"{kind} {coordinates} sizes", None, (8, 3), mode=kind, **mode)
    yield _resize(
        "half_pixel_symmetric",
        None,
        (8, 3),
        mode="linear",
        opset=19,
        coordinate_transformation_mode="half_pixel_symmetric",
    )
    yield _resize("to one pixel", None, (1, 1), mode="linear", coordinate_transformation_mode="pytorch_half_pixel")


def _cubic() -> Iterator[Case]:
    yield _resize("cubic coefficient", (2, 2), None, mode="cubic", cubic_coeff_a=-0.5)
    yield _resize("cubic exclude outside", (2, 2), None, mode="cubic", exclude_outside=1)
    yield _resize("cubic exclude outside down", (0.6, 0.7), None, mode="cubic", exclude_outside=1)


def _versions() -> Iterator[Case]:
    for kind in ("nearest", "linear"):
        yield single(f"{kind} up", "Resize", X, _scales(1, 1, 2, 3), opset=10, mode=kind)
        yield single(f"{kind} down", "Resize", X, _scales(1, 1, 0.6, 0.5), opset=10, mode=kind)
        for opset in (11, 13, 18, 19, 21):
            empty = Const(np.zeros(0, np.float32)) if opset == 11 else None
            yield single(f"{kind} scales", "Resize", X, empty, _scales(1, 1, 2, 2), opset=opset, mode=kind)
            absent = Const(np.zeros(0, np.float32)) if opset == 11 else None
            yield single(f"{kind} sizes", "Resize", X, empty, absent, ints(1, 3, 9, 4), opset=opset, mode=kind)
        yield single(f"{kind} axes", "Resize", X, None, _scales(2, 3), opset=18, mode=kind, axes=[2, 3])
        yield single(f"{kind} axes sizes", "Resize", X, None, None, ints(4, 9), opset=18, mode=kind, axes=[3, 2])
        for policy in ("not_larger", "not_smaller"):
            yield single(
                f"{kind} {policy}",
                "Resize",
                X,
                None,
                None,
                ints(9, 9),
                opset=18,
                mode=kind,
                axes=[2, 3],
                keep_aspect_ratio_policy=policy,
            )
        yield single(f"{kind} free", "Resize", Input(X, ["N", 3, "H", "W"]), None, _scales(1, 1, 2, 2), mode=kind)


def _upsample() -> Iterator[Case]:
    for kind in ("nearest", "linear"):
        yield single(kind, "Upsample", X, opset=7, mode=kind, scales=[1.0, 1.0, 2.0, 3.0])
        yield single(kind, "Upsample", X, _scales(1, 1, 2, 2), opset=9, mode=kind)
