"""Reshape and its kin, transposes, and arithmetic on shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphs import Builder, Case, Input, ints, normal, single

X = normal(2, 6, 4, 5)


def cases() -> Iterator[Case]:
    """All of this module's models."""
    yield from _reshape()
    yield from _flatten()
    yield from _squeeze()
    yield from _expand()
    yield from _transpose()
    yield from _sources()
    yield from _arithmetic()


def _reshape() -> Iterator[Case]:
    for opset in (7, 13, 14, 21):
        yield single("to 2-D", "Reshape", X, ints(2, 120), opset=opset)
    for shape in ((-1,), (0, -1), (2, 3, 2, 4, 5), (0, 0, 20), (4, 3, -1, 5), (0, 2, 3, -1)):
        yield single(f"to {list(shape)}", "Reshape", X, ints(*shape))
    yield single("to scalar", "Reshape", normal(1, 1), ints())
    yield single("free batch", "Reshape", Input(X, ["N", 6, 4, 5]), ints(-1, 120))
    yield single("free batch kept", "Reshape", Input(X, ["N", 6, 4, 5]), ints(0, 6, 20))
    yield single("int64", "Reshape", np.arange(12), ints(3, 4))


def _flatten() -> Iterator[Case]:
    for opset in (7, 13):
        yield single("default", "Flatten", X, opset=opset)
    for axis in (0, 1, 2, 3, 4, -1):
        yield single(f"axis {axis}", "Flatten", X, axis=axis)
    yield single("free batch", "Flatten", Input(X, ["N", 6, 4, 5]))


def _squeeze() -> Iterator[Case]:
    ones = normal(2, 1, 4, 1)
    yield single("attribute", "Squeeze", ones, opset=11, axes=[1])
    yield single("attribute, negative", "Squeeze", ones, opset=11, axes=[-1])
    yield single("input", "Squeeze", ones, ints(1, 3), opset=13)
    yield single("all", "Squeeze", ones, opset=13)
    yield single("after pooling", "Squeeze", normal(2, 6, 1, 1), ints(2, 3))
    yield single("attribute", "Unsqueeze", normal(2, 3), opset=11, axes=[0, 3])
    yield single("input", "Unsqueeze", normal(2, 3), ints(1, -1), opset=13)
    yield single("to 4-D", "Unsqueeze", normal(2, 6), ints(2, 3))
    b = Builder("1-D convolution as 2-D")
    y = b.node("Unsqueeze", b.input(normal(2, 3, 9)), b.const([2]))
    y = b.node("Conv", y, b.const(normal(4, 3, 1, 3)), pads=[0, 1, 0, 1])
    yield b.case(b.node("Squeeze", y, b.const([2])))


def _expand() -> Iterator[Case]:
    for opset in (8, 13):
        yield single("by channel", "Expand", normal(3, 1, 1), ints(2, 3, 4, 5), opset=opset)
    yield single("smaller shape", "Expand", normal(2, 3, 4), ints(4))
    yield single("ones", "Expand", normal(2, 1), ints(2, 3))
    yield single("scalar", "Expand", np.array(2.5, np.float32), ints(2, 3))


def _transpose() -> Iterator[Case]:
    for opset in (7, 13):
        yield single("reverse", "Transpose", X, opset=opset)
    for perm in ((0, 2, 3, 1), (0, 3, 1, 2), (1, 0, 2, 3), (0, 1, 3, 2), (3, 2, 1, 0), (2, 0, 3, 1)):
        yield single(f"{list(perm)}", "Transpose", X, perm=perm)
    yield single("2-D", "Transpose", normal(3, 4))
    yield single("3-D", "Transpose", normal(2, 3, 4), perm=[0, 2, 1])
    yield single("5-D", "Transpose", normal(2, 3, 2, 3, 4), perm=[0, 3, 1, 4, 2])
    yield single("free", "Transpose", Input(X, ["N", 6, "H", "W"]), perm=[0, 2, 3, 1])
    yield _channels_last_inside()


def _channels_last_inside() -> Case:
    b = Builder("transposes around a linear layer (ConvNeXt)")
    y = b.node("Conv", b.input(normal(1, 6, 5, 5)), b.const(normal(6, 1, 3, 3)), group=6, pads=[1] * 4)
    y = b.node("Transpose", y, perm=[0, 2, 3, 1])
    y = b.node("LayerNormalization", y, b.const(normal(6)), b.const(normal(6, seed=1)), axis=-1)
    y = b.node("Add", b.node("MatMul", y, b.const(normal(6, 12))), b.const(normal(12)))
    y = b.node("Transpose", y, perm=[0, 3, 1, 2])
    return b.case(b.node("Relu", y))


def _sources() -> Iterator[Case]:
    free = Input(X, ["N", 6, "H", "W"])
    for opset in (7, 13, 21):
        yield single("plain", "Shape", X, opset=opset)
    yield single("free", "Shape", free)
    yield single("part", "Shape", free, opset=15, start=1, end=-1)
    yield single("plain", "Size", free)
    yield _zeros_like()
    yield _numbered()


def _zeros_like() -> Case:
    b = Builder("ConstantOfShape of a computed shape")
    x = b.input(X, ["N", 6, "H", "W"])
    return b.case(b.node("Add", x, b.node("ConstantOfShape", b.node("Shape", x))))


def _numbered() -> Case:
    b = Builder("Range up to a computed size")
    x = b.input(X, ["N", 6, "H", "W"])
    width = b.node("Gather", b.node("Shape", x), b.const(np.array(3)))
    numbers = b.node("Range", b.const(np.array(0)), width, b.const(np.array(1)))
    return b.case(b.node("Mul", x, b.node("Cast", numbers, to=1)))


def _arithmetic() -> Iterator[Case]:
    """Shapes computed from the input's, as exporters with dynamic axes write them."""
    yield _view()
    yield _upsample_to(13)
    yield _upsample_to(11)
    yield _positions()
    yield _mask()
    yield _split_half()


def _view() -> Case:
    b = Builder("x.view(x.size(0), -1)")
    x = b.input(X, ["N", 6, "H", "W"])
    y = b.node("Conv", x, b.const(normal(3, 6, 3, 3)), pads=[1] * 4)
    batch = b.node("Gather", b.node("Shape", y), b.const(np.array(0)), axis=0)
    shape = b.node("Concat", b.node("Unsqueeze", batch, b.const([0])), b.const([-1]), axis=0)
    return b.case(b.node("Reshape", y, shape))


def _upsample_to(opset: int) -> Case:
    """Features brought to the size of an earlier level (FPN)."""
    b = Builder(f"resize to the size of another value@{opset}", opset)
    x = b.input(normal(1, 4, 9, 11), ["N", 4, "H", "W"])
    small = b.node("Conv", x, b.const(normal(4, 4, 3, 3)), strides=[2, 2], pads=[1] * 4)
    size = b.node("Slice", b.node("Shape", x), b.const([2]), b.const([4]), b.const([0]))
    head = b.node("Slice", b.node("Shape", small), b.const([0]), b.const([2]), b.const([0]))
    sizes = b.node("Cast", b.node("Concat", head, size, axis=0), to=7)
    up = b.node(
        "Resize",
        small,
        None if opset >= 13 else b.const(np.zeros(0, np.float32)),
        None if opset >= 13 else b.const(np.zeros(0, np.float32)),
        sizes,
        mode="linear",
    )
    return b.case(b.node("Add", up, x))


def _positions() -> Case:
    """Position embeddings: a table cut to the length of the sentence."""
    b = Builder("position embeddings")
    tokens = b.input(np.array([[3, 1, 2], [0, 5, 4]]), ["N", "S"])
    length = b.node("Gather", b.node("Shape", tokens), b.const(np.array(1)), axis=0)
    end = b.node("Unsqueeze", length, b.const([0]))
    positions = b.node("Slice", b.const(np.arange(16).reshape(1, 16)), b.const([0]), end, b.const([1]))
    words = b.node("Gather", b.const(normal(8, 6)), tokens)
    return b.case(b.node("Add", words, b.node("Gather", b.const(normal(16, 6, seed=1)), positions)))


def _mask() -> Case:
    """The attention mask of BERT: 0 becomes a large negative number."""
    b = Builder("attention mask")
    mask = b.input(np.array([[1, 1, 0], [1, 1, 1]]), ["N", "S"])
    y = b.node("Unsqueeze", b.node("Unsqueeze", mask, b.const([1])), b.const([2]))
    y = b.node("Cast", y, to=1)
    return b.case(b.node("Mul", b.node("Sub", b.const(1.0), y), b.const(-10000.0)))


def _split_half() -> Case:
    """`torch.chunk`: bounds computed from a size, with integer arithmetic."""
    b = Builder("chunk by computed bounds")
    x = b.input(normal(2, 8, 4, 4), ["N", 8, "H", "W"])
    size = b.node("Gather", b.node("Shape", x), b.const([1]), axis=0)
    half = b.node("Div", b.node("Add", size, b.const([1])), b.const([2]))
    left = b.node("Slice", x, b.const([0]), half, b.const([1]))
    right = b.node("Slice", x, half, b.node("Mul", half, b.const([2])), b.const([1]))
    return b.case(b.node("Mul", left, b.node("Sigmoid", right)))
