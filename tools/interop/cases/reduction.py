"""Reductions, normalisation, arg-max, top-k and cumulative sums."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphs import Builder, Case, Const, Input, ints, normal, scalar, single, uniform

REDUCTIONS = (
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
)
X = uniform(0.2, 1.6, 2, 3, 4, 5)


def cases() -> Iterator[Case]:
    """All of this module's models."""
    yield from _reductions()
    yield from _arguments()
    yield from _top_k()
    yield from _cumulative()
    yield from _norms()
    yield from _spelled_norms()


def _reductions() -> Iterator[Case]:
    for op in REDUCTIONS:
        # ReduceSum took its axes as an input earlier than the others.
        as_input = 13 if op == "ReduceSum" else 18
        yield single("axis 1", op, X, opset=11, axes=[1])
        yield single("all", op, X, opset=11)
        yield single("axes 2 3 not kept", op, X, opset=11, axes=[2, 3], keepdims=0)
        yield single("axes 2 3", op, X, opset=7, axes=[2, 3])
        yield single("last", op, X, opset=11, axes=[-1])
        yield single("axes as input", op, X, ints(1, 2), opset=as_input)
        yield single("negative axes as input", op, X, ints(-1), opset=as_input, keepdims=0)
        yield single("no axes as input", op, X, opset=as_input)
        yield single("nothing to do", op, X, ints(), opset=as_input, noop_with_empty_axes=1)
    for op in ("ReduceMean", "ReduceSum", "ReduceMax"):
        yield single("3-D axis 1", op, normal(2, 7, 5), opset=11, axes=[1], keepdims=0)
        yield single("first", op, X, opset=11, axes=[0], keepdims=0)
        yield single("outer and inner", op, X, opset=11, axes=[0, 3])
        yield single("free", op, Input(X, ["N", 3, "H", "W"]), opset=11, axes=[2, 3])
    for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"):
        yield single("int64", op, np.arange(-6, 6).reshape(3, 4), opset=11, axes=[1])


def _arguments() -> Iterator[Case]:
    x = np.round(normal(2, 3, 4, 5, scale=2.0))  # rounded: ties
    for op in ("ArgMax", "ArgMin"):
        for opset in (7, 11, 13):
            yield single("default", op, x, opset=opset)
        for axis in (1, 2, 3, -1):
            yield single(f"axis {axis}", op, x, axis=axis)
        yield single("not kept", op, x, axis=1, keepdims=0)
        yield single("last of equals", op, x, axis=3, select_last_index=1)


def _top_k() -> Iterator[Case]:
    x = normal(3, 4, 10)
    yield single("attribute", "TopK", x, opset=7, outputs=2, k=3)
    for opset in (10, 11, 13):
        yield single("input", "TopK", x, ints(3), opset=opset, outputs=2)
    yield single("smallest", "TopK", x, ints(4), outputs=2, largest=0)
    yield single("axis 1", "TopK", x, ints(2), outputs=2, axis=1)
    yield single("all", "TopK", x, ints(10), outputs=2, axis=-1)
    yield single("4-D channels", "TopK", normal(2, 6, 3, 3), ints(2), outputs=2, axis=1)


def _cumulative() -> Iterator[Case]:
    x = normal(2, 3, 4)
    for exclusive in (0, 1):
        for reverse in (0, 1):
            name = f"exclusive {exclusive} reverse {reverse}"
            yield single(name, "CumSum", x, scalar(1, np.int64), exclusive=exclusive, reverse=reverse)
    yield single("int64", "CumSum", np.arange(12).reshape(3, 4), scalar(-1, np.int32))


def _batch_norm(name: str, x: np.ndarray, opset: int = 17) -> Case:
    channels = x.shape[1]
    parameters = [Const(normal(channels, seed=s)) for s in (1, 2, 3)]
    variance = Const(uniform(0.2, 2.0, channels))
    return single(name, "BatchNormalization", x, *parameters, variance, opset=opset, epsilon=1e-4)


def _norms() -> Iterator[Case]:
    x = normal(2, 6, 4, 5, scale=2.0)
    for opset in (7, 9, 14, 15):
        yield _batch_norm("4-D", x, opset)
    yield _batch_norm("2-D", normal(4, 6))
    yield _batch_norm("3-D", normal(4, 6, 7))
    yield single("plain", "InstanceNormalization", x, Const(normal(6)), Const(normal(6, seed=1)), epsilon=1e-3)
    yield single("3-D", "InstanceNormalization", normal(2, 6, 9), Const(normal(6)), Const(normal(6, seed=1)))
    for axis in (-1, 1, 2):
        shape = x.shape[axis:] if axis > 0 else x.shape[-1:]
        weights = Const(normal(*shape, seed=1)), Const(normal(*shape, seed=2))
        yield single(f"axis {axis}", "LayerNormalization", x, *weights, axis=axis, epsilon=1e-4)
    yield single("without bias", "LayerNormalization", normal(2, 5, 8), Const(normal(8)), axis=-1)
    for groups in (1, 2, 6):
        # Until opset 21 the scale and bias are per group.
        yield single(
            f"{groups} groups",
            "GroupNormalization",
            x,
            Const(normal(groups)),
            Const(normal(groups, seed=1)),
            opset=18,
            num_groups=groups,
        )
        yield single(
            f"{groups} groups",
            "GroupNormalization",
            x,
            Const(normal(6)),
            Const(normal(6, seed=1)),
            opset=21,
            num_groups=groups,
        )
    for p in (1, 2):
        for axis in (1, -1):
            yield single(f"p {p} axis {axis}", "LpNormalization", x, axis=axis, p=p)


def _spelled_norms() -> Iterator[Case]:
    for opset in (11, 13, 17, 18):
        for square in ("Pow", "Mul"):
            yield _layer_norm(opset, square)
    yield _l2_norm("ReduceL2", 17)
    yield _l2_norm("Sqrt of ReduceSum", 17)
    yield _mean_pooling()


def _reduce_mean(b: Builder, x: str, opset: int) -> str:
    if opset >= 18:
        return b.node("ReduceMean", x, b.const([-1]))
    return b.node("ReduceMean", x, axes=[-1])


def _layer_norm(opset: int, square: str) -> Case:
    b = Builder(f"layer normalisation as primitives, {square}@{opset}", opset)
    x = b.input(normal(2, 5, 8, scale=2.0), ["N", "S", 8])
    centred = b.node("Sub", x, _reduce_mean(b, x, opset))
    squared = b.node("Pow", centred, b.const(2.0)) if square == "Pow" else b.node("Mul", centred, centred)
    variance = _reduce_mean(b, squared, opset)
    deviation = b.node("Sqrt", b.node("Add", variance, b.const(1e-5)))
    y = b.node("Mul", b.node("Div", centred, deviation), b.const(normal(8, seed=1)))
    return b.case(b.node("Add", y, b.const(normal(8, seed=2))))


def _l2_norm(how: str, opset: int) -> Case:
    b = Builder(f"L2 normalisation by {how}", opset)
    x = b.input(normal(3, 8), ["N", 8])
    if how == "ReduceL2":
        norm = b.node("ReduceL2", x, axes=[1])
    else:
        norm = b.node("Sqrt", b.node("ReduceSum", b.node("Mul", x, x), b.const([1])))
    shape = b.node("Shape", x)
    norm = b.node("Expand", b.node("Clip", norm, b.const(1e-12)), shape)
    return b.case(b.node("Div", x, norm))


def _mean_pooling() -> Case:
    b = Builder("masked mean")
    x = b.input(normal(2, 5, 8), ["N", "S", 8])
    mask = b.input(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]), ["N", "S"])
    mask = b.node("Cast", b.node("Unsqueeze", mask, b.const([-1])), to=1)
    total = b.node("ReduceSum", b.node("Mul", x, mask), b.const([1]), keepdims=0)
    count = b.node("Clip", b.node("ReduceSum", mask, b.const([1]), keepdims=0), b.const(1e-9))
    return b.case(b.node("Div", total, count))
