"""Pooling and global pooling."""

from __future__ import annotations

from collections.abc import Iterator

from graphs import Case, Input, normal, single

X = normal(2, 5, 11, 8)


def cases() -> Iterator[Case]:
    """All of this module's models."""
    for op in ("MaxPool", "AveragePool"):
        yield from _both(op)
    yield from _average()
    yield from _max()
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        for opset in (7, 13, 21):
            yield single("plain", op, X, opset=opset)
        yield single("1-D", op, normal(2, 5, 9))
        yield single("free sizes", op, Input(X, ["N", 5, "H", "W"]))


def _both(op: str) -> Iterator[Case]:
    for opset in (7, 9, 11, 13, 17, 21):
        yield single("2×2", op, X, opset=opset, kernel_shape=[2, 2], strides=[2, 2])
    yield single("stride 1", op, X, kernel_shape=[3, 3])
    yield single("3×3 padded", op, X, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    yield single("asymmetric padding", op, X, kernel_shape=[3, 4], strides=[2, 1], pads=[0, 1, 2, 3])
    yield single("negative values padded", op, -abs(X) - 1.0, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    yield single("kernel as large as the input", op, X, kernel_shape=[11, 8])
    yield single("free sizes", op, Input(X, ["N", 5, "H", "W"]), kernel_shape=[2, 2], strides=[2, 2])
    yield single("1-D", op, normal(2, 5, 20), kernel_shape=[3], strides=[2], pads=[1, 0])
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield single(mode, op, X, kernel_shape=[3, 3], strides=[2, 2], auto_pad=mode)
        yield single(f"{mode} even kernel", op, X, kernel_shape=[2, 4], strides=[1, 3], auto_pad=mode)
    for opset in (11, 19, 21):
        yield single("ceil", op, X, opset=opset, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        yield single(
            "ceil padded", op, X, opset=opset, kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1
        )
    yield single("ceil 1-D", op, normal(2, 5, 20), kernel_shape=[3], strides=[4], ceil_mode=1)


def _average() -> Iterator[Case]:
    for opset in (7, 11, 19):
        yield single(
            "padding counted",
            "AveragePool",
            X,
            opset=opset,
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            count_include_pad=1,
        )
    yield single(
        "asymmetric padding counted",
        "AveragePool",
        X,
        kernel_shape=[3, 2],
        strides=[2, 2],
        pads=[0, 1, 2, 1],
        count_include_pad=1,
    )
    # Since opset 19 the sizes of a window are those of its padded part: cells beyond count for nothing.
    yield single(
        "ceil padding counted",
        "AveragePool",
        X,
        opset=19,
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1] * 4,
        ceil_mode=1,
        count_include_pad=1,
    )
    yield single("dilated", "AveragePool", X, opset=19, kernel_shape=[2, 2], dilations=[2, 2])


def _max() -> Iterator[Case]:
    for opset in (11, 17):
        yield single("dilated", "MaxPool", X, opset=opset, kernel_shape=[3, 2], dilations=[2, 3])
    yield single(
        "dilated padded", "MaxPool", X, kernel_shape=[3, 3], dilations=[2, 2], pads=[2, 2, 2, 2], strides=[2, 2]
    )
    yield single("dilated ceil", "MaxPool", X, kernel_shape=[3, 3], dilations=[2, 2], strides=[2, 2], ceil_mode=1)
