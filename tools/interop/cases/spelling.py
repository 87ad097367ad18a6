"""Activations as exporters spell them: small graphs of simpler operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from graphs import Builder, Case, normal

ROOT2 = math.sqrt(2.0)
ROOT_2_PI = math.sqrt(2.0 / math.pi)

Spell = Callable[[Builder, str], str]


def cases() -> Iterator[Case]:
    """All of this module's models."""
    for spell in SPELLINGS:
        yield _inside(spell, "3-D", 2, 5, 8)
        yield _inside(spell, "4-D", 1, 3, 4, 6)


def _inside(spell: Spell, name: str, *shape: int) -> Case:
    """The spelling with something before and after it, as it is met in models."""
    b = Builder(f"spelled {spell.__name__} {name}")
    x = b.input(normal(*shape, scale=2.0), ["N", *shape[1:]])
    y = b.node("MatMul", x, b.const(normal(shape[-1], shape[-1], seed=1, scale=0.4)))
    return b.case(b.node("Mul", spell(b, y), b.const(0.5)))


def gelu_div(b: Builder, x: str) -> str:
    """x · (1 + erf(x / √2)) · 0.5"""
    inner = b.node("Add", b.node("Erf", b.node("Div", x, b.const(ROOT2))), b.const(1.0))
    return b.node("Mul", b.node("Mul", x, inner), b.const(0.5))


def gelu_mul(b: Builder, x: str) -> str:
    """(x · 0.5) · (1 + erf(x · 1/√2))"""
    inner = b.node("Add", b.const(1.0), b.node("Erf", b.node("Mul", x, b.const(1.0 / ROOT2))))
    return b.node("Mul", b.node("Mul", x, b.const(0.5)), inner)


def gelu_half_inside(b: Builder, x: str) -> str:
    """x · (0.5 · (1 + erf(x / √2)))"""
    inner = b.node("Add", b.node("Erf", b.node("Div", x, b.const(ROOT2))), b.const(1.0))
    return b.node("Mul", x, b.node("Mul", inner, b.const(0.5)))


def gelu_tanh_pow(b: Builder, x: str) -> str:
    """0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))"""
    cube = b.node("Mul", b.const(0.044715), b.node("Pow", x, b.const(3.0)))
    tanh = b.node("Tanh", b.node("Mul", b.const(ROOT_2_PI), b.node("Add", x, cube)))
    return b.node("Mul", b.node("Mul", b.const(0.5), x), b.node("Add", b.const(1.0), tanh))


def gelu_tanh_product(b: Builder, x: str) -> str:
    """x · (0.5 · (1 + tanh(√(2/π) · x · (1 + 0.044715 · x · x))))"""
    factor = b.node("Add", b.node("Mul", b.node("Mul", x, x), b.const(0.044715)), b.const(1.0))
    tanh = b.node("Tanh", b.node("Mul", b.node("Mul", x, b.const(ROOT_2_PI)), factor))
    return b.node("Mul", x, b.node("Mul", b.node("Add", tanh, b.const(1.0)), b.const(0.5)))


def gelu_sigmoid(b: Builder, x: str) -> str:
    """x · sigmoid(1.702 · x)"""
    return b.node("Mul", x, b.node("Sigmoid", b.node("Mul", x, b.const(1.702))))


def silu(b: Builder, x: str) -> str:
    """x · sigmoid(x)"""
    return b.node("Mul", x, b.node("Sigmoid", x))


def silu_reversed(b: Builder, x: str) -> str:
    """sigmoid(x) · x"""
    return b.node("Mul", b.node("Sigmoid", x), x)


def hard_swish_div_last(b: Builder, x: str) -> str:
    """x · clip(x + 3, 0, 6) / 6"""
    return b.node("Div", b.node("Mul", x, _shifted_clip(b, x)), b.const(6.0))


def hard_swish_div_inside(b: Builder, x: str) -> str:
    """x · (clip(x + 3, 0, 6) / 6)"""
    return b.node("Mul", x, hard_sigmoid(b, x))


def hard_swish_by_hard_sigmoid(b: Builder, x: str) -> str:
    """x · hard_sigmoid(x)"""
    return b.node("Mul", x, b.node("HardSigmoid", x, alpha=1.0 / 6.0, beta=0.5))


def hard_sigmoid(b: Builder, x: str) -> str:
    """clip(x + 3, 0, 6) / 6"""
    return b.node("Div", _shifted_clip(b, x), b.const(6.0))


def mish(b: Builder, x: str) -> str:
    """x · tanh(softplus(x))"""
    return b.node("Mul", x, b.node("Tanh", b.node("Softplus", x)))


def relu6_by_min_max(b: Builder, x: str) -> str:
    """min(max(x, 0), 6)"""
    return b.node("Min", b.node("Max", x, b.const(0.0)), b.const(6.0))


def leaky_relu_by_max(b: Builder, x: str) -> str:
    """max(x, 0.1 · x)"""
    return b.node("Max", x, b.node("Mul", x, b.const(0.1)))


def _shifted_clip(b: Builder, x: str) -> str:
    return b.node("Clip", b.node("Add", x, b.const(3.0)), b.const(0.0), b.const(6.0))


SPELLINGS: tuple[Spell, ...] = (
    gelu_div,
    gelu_mul,
    gelu_half_inside,
    gelu_tanh_pow,
    gelu_tanh_product,
    gelu_sigmoid,
    silu,
    silu_reversed,
    hard_swish_div_last,
    hard_swish_div_inside,
    hard_swish_by_hard_sigmoid,
    hard_sigmoid,
    mish,
    relu6_by_min_max,
    leaky_relu_by_max,
)
