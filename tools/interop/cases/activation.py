"""Activations that are one operator."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphs import MICROSOFT, Builder, Case, Const, Input, normal, scalar, single, uniform

X = normal(2, 3, 4, 5, scale=3.0)


def cases() -> Iterator[Case]:
    """All of this module's models."""
    yield from _operators()
    yield from _clips()
    yield from _prelu()
    yield from _softmax()


def _operators() -> Iterator[Case]:
    for op in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish"):
        yield single("plain", op, X)
        yield single("free batch", op, Input(X, ["N", 3, "H", "W"]))
    for op in ("Relu", "Sigmoid", "Tanh", "Elu", "LeakyRelu", "Selu", "Softplus"):
        for opset in (7, 13, 21):
            yield single("defaults", op, X, opset=opset)
    yield single("alpha", "LeakyRelu", X, alpha=0.3)
    yield single("alpha", "Elu", X, alpha=0.5)
    yield single("alpha gamma", "Selu", X, alpha=1.5, gamma=1.1)
    yield single("defaults", "HardSigmoid", X)
    yield single("alpha beta", "HardSigmoid", X, alpha=1.0 / 6.0, beta=0.5)
    yield single("plain", "Mish", X, opset=18)
    for approximate in ("none", "tanh"):
        yield single(approximate, "Gelu", X, opset=20, approximate=approximate)
    yield single("microsoft", "Gelu", X, domain=MICROSOFT)
    yield single("microsoft", "FastGelu", X, domain=MICROSOFT)
    yield single("microsoft with bias", "FastGelu", normal(2, 8), Const(normal(8)), domain=MICROSOFT)
    yield single("microsoft", "QuickGelu", X, domain=MICROSOFT, alpha=1.702)


def _clips() -> Iterator[Case]:
    for opset in (7, 9):
        yield single("attributes", "Clip", X, opset=opset, min=0.0, max=6.0)
        yield single("min attribute", "Clip", X, opset=opset, min=-0.5)
    for opset in (11, 13, 17):
        yield single("inputs", "Clip", X, scalar(0.0), scalar(6.0), opset=opset)
    yield single("min only", "Clip", X, scalar(-1.5))
    yield single("max only", "Clip", X, None, scalar(2.5))
    yield single("no bounds", "Clip", X)
    yield single("relu n1 to 1", "Clip", X, scalar(-1.0), scalar(1.0))
    yield single("int64", "Clip", np.arange(-5, 6), scalar(-2, np.int64), scalar(3, np.int64))
    b = Builder("Clip of bounds from Constant nodes")
    bounds = [b.node("Constant", value_float=v) for v in (0.0, 6.0)]
    yield b.case(b.node("Clip", b.input(X), *bounds))


def _prelu() -> Iterator[Case]:
    for opset in (7, 9, 16):
        yield single("by channel", "PRelu", X, Const(uniform(0.0, 0.5, 3, 1, 1)), opset=opset)
    yield single("scalar", "PRelu", X, Const(uniform(0.1, 0.5, 1)))
    yield single("every element", "PRelu", X, Const(uniform(-0.5, 0.5, 3, 4, 5)))
    yield single("2-D", "PRelu", normal(4, 6), Const(uniform(0.0, 0.5, 6)))


def _softmax() -> Iterator[Case]:
    for op in ("Softmax", "LogSoftmax"):
        for opset in (7, 11):
            yield single("default", op, X, opset=opset)
            for axis in (0, 1, 2, 3, -1):
                if opset == 11 or axis >= 0:
                    yield single(f"axis {axis}", op, X, opset=opset, axis=axis)
        for opset in (13, 17):
            yield single("default", op, X, opset=opset)
        for axis in (0, 1, 2, 3, -1, -3):
            yield single(f"axis {axis}", op, X, axis=axis)
        yield single("2-D", op, normal(3, 10, scale=5.0), axis=1)
        yield single("1-D", op, normal(7), axis=0)
        yield single("large values", op, normal(3, 10, scale=200.0))
        yield single("3-D axis 1", op, normal(2, 7, 5), axis=1)
