"""Models of one operator each, for every operator that has an int8 form in TFLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphs import Builder, Case, Const, ints, normal, scalar, single, uniform

BATCH = 4
IMAGE = normal(BATCH, 6, 9, 8)
VECTOR = normal(BATCH, 12)


def cases() -> Iterator[Case]:
    """All of this module's models; the values of their inputs show shapes and ranges."""
    yield from _convolutions()
    yield from _linear()
    yield from _arithmetic()
    yield from _activations()
    yield from _pools_and_reductions()
    yield from _movement()
    yield from _shapes()
    yield from _resizes()


def _weights(*shape: int) -> Const:
    """Weights whose output channels have very different ranges."""
    spread = np.logspace(-1.5, 0.3, shape[0], dtype=np.float32)
    return Const(normal(*shape, seed=1) * spread.reshape(-1, *[1] * (len(shape) - 1)))


def _conv(name: str, weights: tuple[int, ...], x: np.ndarray = IMAGE, bias: bool = True, **rest: Any) -> Case:
    operands = [x, _weights(*weights)] + ([Const(normal(weights[0], seed=2))] if bias else [])
    return single(name, "Conv", *operands, **rest)


def _convolutions() -> Iterator[Case]:
    yield _conv("3×3", (7, 6, 3, 3), pads=[1, 1, 1, 1])
    yield _conv("valid without bias", (7, 6, 3, 3), bias=False)
    yield _conv("strided", (7, 6, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
    yield _conv("asymmetric padding", (7, 6, 3, 2), pads=[0, 1, 2, 0], strides=[2, 1])
    yield _conv("pointwise", (16, 6, 1, 1))
    yield _conv("dilated", (7, 6, 3, 3), dilations=[2, 2])
    yield _conv("many channels", (33, 70, 3, 3), normal(BATCH, 70, 5, 5), pads=[1, 1, 1, 1])
    yield _conv("groups", (8, 3, 3, 3), group=2, pads=[1, 1, 1, 1])
    yield _conv("1-D", (7, 6, 3), normal(BATCH, 6, 15), pads=[1, 1])
    yield _conv("depthwise", (6, 1, 3, 3), group=6, pads=[1, 1, 1, 1])
    yield _conv("depthwise strided", (6, 1, 5, 5), group=6, strides=[2, 2], auto_pad="SAME_UPPER")
    yield _conv("depthwise multiplier", (12, 1, 3, 3), group=6)
    yield _conv("depthwise dilated", (6, 1, 3, 3), group=6, dilations=[2, 2])
    for op, bounds in (("Relu", ()), ("Clip", (0.0, 6.0)), ("Clip", (-1.0, 1.0))):
        b = Builder(f"Conv+{op}{list(bounds)}")
        y = b.node("Conv", b.input(IMAGE * 3), b.const(_weights(7, 6, 3, 3).value), b.const(normal(7)))
        yield b.case(b.node(op, y, *(b.const(bound) for bound in bounds)))
    weights = Const(normal(6, 5, 3, 3, seed=1))
    yield single("stride 2", "ConvTranspose", IMAGE, weights, Const(normal(5)), strides=[2, 2])
    yield single("without bias", "ConvTranspose", IMAGE, weights, strides=[2, 2], auto_pad="SAME_UPPER")
    yield single("2×2", "ConvTranspose", IMAGE, Const(normal(6, 5, 2, 2)), Const(normal(5)), strides=[2, 2])


def _linear() -> Iterator[Case]:
    yield single("with bias", "Gemm", VECTOR, _weights(20, 12), Const(normal(20)), transB=1)
    yield single("without bias", "Gemm", VECTOR, _weights(20, 12), transB=1)
    yield single("wide", "Gemm", normal(BATCH, 300), _weights(64, 300), Const(normal(64)), transB=1)
    yield single("constant B", "MatMul", normal(BATCH, 5, 12), Const(normal(12, 9)))
    yield single("computed B", "MatMul", normal(BATCH, 5, 12), normal(BATCH, 12, 7, seed=1))
    yield single("computed B, four dimensions", "MatMul", normal(BATCH, 2, 5, 12), normal(BATCH, 2, 12, 7, seed=1))


def _arithmetic() -> Iterator[Case]:
    other = normal(BATCH, 6, 9, 8, seed=1, scale=3.0)
    for op in ("Add", "Sub", "Mul", "Min", "Max"):
        yield single("same shape", op, IMAGE, other)
        yield single("by channel", op, IMAGE, Const(normal(6, 1, 1, seed=2)))
    for op in ("Add", "Sub", "Mul"):
        yield single("broadcast", op, IMAGE, normal(BATCH, 6, 1, 1, seed=3))
        yield single("scalar", op, IMAGE, scalar(0.75))
        yield single("small and large", op, IMAGE * 0.1, other)
    for op in ("Add", "Mul"):
        b = Builder(f"{op}+Relu")
        yield b.case(b.node("Relu", b.node(op, b.input(IMAGE), b.input(other))))


def _activations() -> Iterator[Case]:
    x = IMAGE * 3
    for op in ("Relu", "Sigmoid", "Tanh", "Elu", "HardSwish"):
        yield single("plain", op, x)
    yield single("plain", "LeakyRelu", x, alpha=0.1)
    yield single("steep", "LeakyRelu", x, alpha=0.6)
    yield single("6", "Clip", x, scalar(0.0), scalar(6.0))
    yield single("n1 to 1", "Clip", x, scalar(-1.0), scalar(1.0))
    for approximate in ("none", "tanh"):
        yield single(approximate, "Gelu", x, opset=20, approximate=approximate)
    yield single("by channel", "PRelu", x, Const(uniform(-0.3, 0.5, 6, 1, 1)))
    for op in ("Softmax", "LogSoftmax"):
        yield single("2-D", op, VECTOR * 3, axis=-1)
        yield single("3-D", op, normal(BATCH, 5, 7, scale=3.0), axis=-1)


def _pools_and_reductions() -> Iterator[Case]:
    for op in ("MaxPool", "AveragePool"):
        yield single("2×2", op, IMAGE, kernel_shape=[2, 2], strides=[2, 2])
        yield single("3×3 same", op, IMAGE, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        yield single("plain", op, IMAGE)
    for op in ("ReduceMean", "ReduceMax", "ReduceMin"):
        yield single("spatial", op, IMAGE, opset=13, axes=[2, 3], keepdims=0)
        yield single("channels", op, IMAGE, opset=13, axes=[1])
    yield single("spatial", "ReduceSum", IMAGE, ints(2, 3), keepdims=0)
    yield single("last", "ReduceSum", VECTOR, ints(-1))
    yield single("last axis", "LpNormalization", VECTOR, axis=-1, p=2)


def _movement() -> Iterator[Case]:
    other = normal(BATCH, 3, 9, 8, seed=1)
    yield single("channels", "Concat", IMAGE, other, axis=1)
    yield single("channels, other ranges", "Concat", IMAGE, other * 5, other * 0.2, axis=1)
    yield single("rows", "Concat", IMAGE, IMAGE * 2, axis=2)
    yield single("constant", "Pad", IMAGE, ints(0, 0, 1, 2, 0, 0, 0, 1))
    yield single("value", "Pad", IMAGE, ints(0, 0, 1, 2, 0, 0, 0, 1), scalar(1.0))
    yield single("reflect", "Pad", IMAGE, ints(0, 0, 1, 2, 0, 0, 0, 1), mode="reflect")
    yield single("equal", "Split", IMAGE, outputs=2, axis=1)
    yield single("sizes", "Split", IMAGE, ints(1, 5), outputs=2, axis=1)
    yield single("plain", "Slice", IMAGE, ints(1, 2), ints(5, 7), ints(1, 3))
    yield single("strided", "Slice", IMAGE, ints(0, 1), ints(9, 8), ints(2, 3), ints(2, 3))
    yield single("reversed", "Slice", IMAGE, ints(-1), ints(-100), ints(3), ints(-1))
    yield single("channels", "Gather", IMAGE, Const(np.array([3, 0, 5])), axis=1)
    yield single("one", "Gather", IMAGE, scalar(2, np.int64), axis=2)
    yield single("rows", "Tile", IMAGE, ints(1, 1, 2, 1))
    yield single("2", "SpaceToDepth", normal(BATCH, 3, 4, 6), blocksize=2)
    yield single("2", "DepthToSpace", normal(BATCH, 12, 3, 2), blocksize=2)


def _shapes() -> Iterator[Case]:
    yield single("to 2-D", "Reshape", IMAGE, ints(BATCH, -1))
    yield single("plain", "Flatten", IMAGE)
    yield single("channels last", "Transpose", IMAGE, perm=[0, 2, 3, 1])
    yield single("3-D", "Transpose", normal(BATCH, 5, 7), perm=[0, 2, 1])
    yield single("plain", "Squeeze", normal(BATCH, 5, 1), ints(2))
    yield single("plain", "Unsqueeze", VECTOR, ints(1))
    yield single("plain", "Expand", normal(BATCH, 1, 7), ints(BATCH, 5, 7))


def _resizes() -> Iterator[Case]:
    up = Const(np.array([1, 1, 2, 2], np.float32))
    for coordinates, rounding in (("asymmetric", "floor"), ("half_pixel", "round_prefer_ceil")):
        yield single(
            f"nearest {coordinates}",
            "Resize",
            IMAGE,
            None,
            up,
            coordinate_transformation_mode=coordinates,
            nearest_mode=rounding,
        )
    for coordinates in ("asymmetric", "half_pixel", "align_corners"):
        mode: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": coordinates}
        yield single(f"linear {coordinates} up", "Resize", IMAGE, None, up, **mode)
        yield single(f"linear {coordinates} sizes", "Resize", IMAGE, None, None, ints(BATCH, 6, 5, 13), **mode)
