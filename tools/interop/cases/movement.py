"""Pad, concatenation, splitting, slicing, gathering."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphs import Builder, Case, Const, Input, ints, normal, scalar, single

X = normal(2, 6, 5, 7)


def cases() -> Iterator[Case]:
    """All of this module's models."""
    yield from _pad()
    yield from _concat()
    yield from _split()
    yield from _slice()
    yield from _gather()
    yield from _scatter_and_tile()
    yield from _blocks()


def _pad() -> Iterator[Case]:
    pads = [0, 1, 1, 2, 0, 0, 2, 1]
    for mode in ("constant", "reflect", "edge"):
        yield single(mode, "Pad", X, opset=7, mode=mode, pads=pads)
        for opset in (11, 13, 18):
            yield single(mode, "Pad", X, ints(*pads), opset=opset, mode=mode)
        yield single(f"{mode} 3-D", "Pad", normal(2, 4, 6), ints(0, 0, 2, 0, 0, 3), mode=mode)
        yield single(f"{mode} 2-D", "Pad", normal(4, 6), ints(1, 2, 3, 0), mode=mode)
    yield single("value attribute", "Pad", X, opset=7, pads=pads, value=-1.5)
    yield single("value", "Pad", X, ints(*pads), scalar(2.5))
    yield single("axes", "Pad", X, ints(1, 2, 0, 1), scalar(0.0), ints(2, -1), opset=18)
    yield single("wrap", "Pad", X, ints(*pads), opset=19, mode="wrap")
    yield single("negative", "Pad", X, ints(0, 0, -1, 0, 0, -2, 0, 1))
    yield single("batch", "Pad", normal(2, 3), ints(1, 0, 0, 0))
    yield single("int64", "Pad", np.arange(6).reshape(2, 3), ints(0, 1, 0, 2), scalar(9, np.int64))


def _concat() -> Iterator[Case]:
    for axis in (0, 1, 2, 3, -1, -3):
        other = list(X.shape)
        other[axis] = 3
        for opset in (7, 17) if axis >= 0 else (11,):
            yield single(f"axis {axis}", "Concat", X, normal(*other, seed=1), opset=opset, axis=axis)
    yield single("three", "Concat", X, X, normal(2, 1, 5, 7), axis=1)
    yield single("with a constant", "Concat", normal(1, 4), Const(normal(1, 2)), axis=1)
    yield single("int64", "Concat", np.arange(4), np.arange(3), axis=0)
    yield single("3-D", "Concat", normal(2, 3, 4), normal(2, 5, 4), axis=1)


def _split() -> Iterator[Case]:
    for axis in (1, -3):
        yield single(f"equal axis {axis}", "Split", X, opset=7, outputs=3, axis=axis)
        yield single(f"equal axis {axis}", "Split", X, opset=13, outputs=3, axis=axis)
        yield single(f"equal axis {axis}", "Split", X, opset=18, outputs=3, axis=axis, num_outputs=3)
    yield single("sizes attribute", "Split", X, opset=11, outputs=2, axis=3, split=[3, 4])
    yield single("sizes", "Split", X, ints(1, 2, 3), outputs=3, axis=1)
    yield single("uneven", "Split", X, opset=18, outputs=3, axis=3, num_outputs=3)
    b = Builder("split, processed, joined")
    left, right = b.nodes("Split", 2, b.input(X), axis=1)
    yield b.case(b.node("Concat", b.node("Relu", right), left, axis=1))


def _slice() -> Iterator[Case]:
    yield single("attributes", "Slice", X, opset=9, starts=[1, 2], ends=[4, 6], axes=[1, 3])
    yield single("attributes without axes", "Slice", X, opset=9, starts=[0, 1], ends=[1, 9])
    for opset in (10, 11, 13):
        yield single("inputs", "Slice", X, ints(1, 2), ints(4, 6), ints(1, 3), opset=opset)
    yield single("steps", "Slice", X, ints(0, 1), ints(6, 7), ints(1, 3), ints(2, 3))
    yield single("negative steps", "Slice", X, ints(-1, 6), ints(-100, 0), ints(1, 3), ints(-1, -2))
    yield single("reverse", "Slice", X, ints(-1), ints(np.iinfo(np.int64).min), ints(2), ints(-1))
    yield single("negative ends", "Slice", X, ints(-3), ints(-1), ints(-1))
    yield single("to the end", "Slice", X, ints(2), ints(np.iinfo(np.int64).max), ints(2))
    yield single("beyond", "Slice", X, ints(0), ints(100), ints(1))
    yield single("empty", "Slice", X, ints(3), ints(3), ints(1))
    yield single("without axes", "Slice", normal(4, 5, 6), ints(1, 0, 2), ints(3, 5, 4))
    yield single("3-D", "Slice", normal(2, 9, 4), ints(1), ints(8), ints(1), ints(2))
    yield single("free", "Slice", Input(X, ["N", 6, "H", "W"]), ints(1), ints(-1), ints(2))
    yield single("int64", "Slice", np.arange(10), ints(2), ints(8), ints(0), ints(2))
    for opset in (7, 17):
        yield _focus(opset)


def _focus(opset: int) -> Case:
    """The slices and concatenation of YOLOv5's focus layer."""
    b = Builder(f"focus@{opset}", opset)
    x = b.input(normal(1, 3, 8, 6))
    parts = []
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        if opset < 10:  # Without steps: the rows and columns of space-to-depth by Gather.
            rows = b.node("Gather", x, b.const(list(range(row, 8, 2))), axis=2)
            parts.append(b.node("Gather", rows, b.const(list(range(column, 6, 2))), axis=3))
            continue
        rows = b.node("Slice", x, b.const([row]), b.const([100]), b.const([2]), b.const([2]))
        parts.append(b.node("Slice", rows, b.const([column]), b.const([100]), b.const([3]), b.const([2])))
    y = b.node("Concat", *parts, axis=1)
    return b.case(b.node("Conv", y, b.const(normal(8, 12, 1, 1))))


def _gather() -> Iterator[Case]:
    table = normal(20, 8)
    tokens = np.array([[1, 5, 19], [0, 0, 7]])
    for opset in (7, 11, 13):
        yield single("embedding", "Gather", Const(table), Input(tokens, ["N", "S"]), opset=opset)
    yield single("embedding int32", "Gather", Const(table), tokens.astype(np.int32))
    for axis in (0, 1, 2, 3, -1):
        yield single(f"axis {axis}", "Gather", X, Const(np.array([1, 0, 1])), axis=axis)
        yield single(f"scalar axis {axis}", "Gather", X, scalar(1, np.int64), axis=axis)
    yield single("negative indices", "Gather", X, Const(np.array([[-1, 0], [2, -3]])), axis=1)
    yield single("computed indices", "Gather", X, np.array([2, 2, 0]), axis=2)
    yield single("axis 1", "GatherElements", normal(3, 4), np.array([[0, 3], [1, 1], [-1, 2]]), axis=1)
    yield single("axis 2 of four", "GatherElements", X, np.zeros((2, 6, 2, 7), np.int64) + 1, axis=2)
    yield single("rows", "GatherND", X, Const(np.array([[0, 1], [1, 5]])))
    yield single("elements", "GatherND", normal(3, 4), Const(np.array([[0, 1], [2, 3]])))
    yield single("batch", "GatherND", normal(2, 3, 4), Const(np.array([[[1]], [[0]]])), opset=12, batch_dims=1)


def _scatter_and_tile() -> Iterator[Case]:
    yield single("rows", "ScatterND", normal(4, 3), Const(np.array([[0], [2]])), normal(2, 3, seed=1))
    yield single("elements", "ScatterND", normal(4, 3), Const(np.array([[0, 1], [3, 2]])), normal(2, seed=1))
    for opset in (7, 13):
        yield single("4-D", "Tile", X, ints(1, 2, 3, 1), opset=opset)
    yield single("2-D", "Tile", normal(2, 3), ints(2, 2))
    yield single(
        "last axis", "OneHot", np.array([1, 0, 4]), scalar(5, np.int64), Const(np.array([0.0, 1.0], np.float32))
    )
    yield single(
        "axis 0", "OneHot", np.array([[1, 0]]), scalar(3, np.int64), Const(np.array([-1.0, 2.0], np.float32)), axis=0
    )


def _blocks() -> Iterator[Case]:
    for opset in (7, 13):
        yield single("2", "SpaceToDepth", normal(2, 3, 4, 6), opset=opset, blocksize=2)
        yield single("2", "DepthToSpace", normal(2, 12, 3, 2), opset=opset, blocksize=2)
    for mode in ("DCR", "CRD"):
        yield single(mode, "DepthToSpace", normal(2, 18, 3, 2), mode=mode, blocksize=3)
    yield _pixel_shuffle()
    yield _channel_shuffle()


def _pixel_shuffle() -> Case:
    b = Builder("pixel shuffle by Reshape and Transpose")
    y = b.node("Reshape", b.input(normal(1, 8, 3, 5)), b.const([1, 2, 2, 2, 3, 5]))
    y = b.node("Transpose", y, perm=[0, 1, 4, 2, 5, 3])
    return b.case(b.node("Reshape", y, b.const([1, 2, 6, 10])))


def _channel_shuffle() -> Case:
    b = Builder("channel shuffle (ShuffleNet)")
    x = b.input(normal(1, 8, 3, 5))
    y = b.node("Conv", x, b.const(normal(8, 8, 1, 1)))
    y = b.node("Reshape", y, b.const([1, 2, 4, 3, 5]))
    y = b.node("Reshape", b.node("Transpose", y, perm=[0, 2, 1, 3, 4]), b.const([1, 8, 3, 5]))
    return b.case(b.node("Conv", y, b.const(normal(4, 8, 1, 1, seed=1))))
