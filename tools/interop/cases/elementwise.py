"""Arithmetic, comparison, logic and casts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphs import Case, Const, Input, normal, single, uniform

BROADCASTS = {
    "same": ((2, 3, 4, 5), (2, 3, 4, 5)),
    "scalar": ((2, 3, 4, 5), ()),
    "one": ((2, 3, 4, 5), (1,)),
    "last axis": ((2, 3, 4, 5), (5,)),
    "by channel": ((2, 3, 4, 5), (3, 1, 1)),
    "by channel, all axes": ((2, 3, 4, 5), (1, 3, 1, 1)),
    "by row": ((2, 3, 4, 5), (4, 1)),
    "first smaller": ((5,), (2, 3, 4, 5)),
    "both": ((2, 1, 4, 1), (3, 1, 5)),
    "both, four axes": ((2, 1, 4, 1), (1, 3, 1, 5)),
    "1-D": ((6,), (6,)),
    "2-D": ((4, 6), (6,)),
    "3-D": ((2, 4, 6), (2, 1, 6)),
    "5-D": ((2, 1, 3, 2, 4), (1, 2, 3, 1, 4)),
}


def cases() -> Iterator[Case]:
    """All of this module's models."""
    yield from _binary()
    yield from _integers()
    yield from _unary()
    yield from _compare_and_select()
    yield from _variadic()
    yield from _casts()


def _binary() -> Iterator[Case]:
    for op in ("Add", "Sub", "Mul", "Div"):
        for name, (a, b) in BROADCASTS.items():
            divisor = normal(*b, seed=1) if op != "Div" else uniform(0.5, 2.0, *b)
            yield single(name, op, normal(*a), divisor)
            if op in ("Add", "Mul"):
                yield single(f"{name}, constant", op, normal(*a), Const(divisor))
        yield single("constant first", op, Const(normal(1, 3, 1, 1)), uniform(0.5, 2.0, 2, 3, 4, 5))
        yield single("free batch", op, Input(normal(3, 8), ["N", 8]), Const(uniform(0.5, 2.0, 8)))
        for opset in (7, 13, 14):
            yield single("plain", op, normal(4, 6), uniform(0.5, 2.0, 4, 6), opset=opset)
    base = uniform(0.1, 3.0, 2, 3, 4)
    yield single("computed", "Pow", base, uniform(-2.0, 2.0, 3, 1))
    for exponent in (0.0, 0.5, 1.0, 2.0, 3.0, -1.0, -0.5, 1.7):
        yield single(f"to {exponent}", "Pow", base, Const(np.float32(exponent)))
    yield single("negative base", "Pow", normal(3, 4), Const(np.float32(2.0)))
    yield single("integer exponent", "Pow", normal(3, 4), Const(np.array(3, np.int64)))
    yield single("fmod", "Mod", normal(3, 4, scale=5.0), uniform(0.5, 2.0, 4), fmod=1)


def _integers() -> Iterator[Case]:
    generator = np.random.default_rng(5)
    for dtype in (np.int32, np.int64):
        a = generator.integers(-50, 50, (3, 4)).astype(dtype)
        b = generator.integers(1, 9, (3, 4)).astype(dtype) * np.where(generator.random((3, 4)) < 0.5, -1, 1).astype(
            dtype
        )
        for op in ("Add", "Sub", "Mul", "Div"):
            yield single(f"{np.dtype(dtype)}", op, a, b)
        yield single(f"{np.dtype(dtype)}", "Mod", a, b)
        yield single(f"fmod {np.dtype(dtype)}", "Mod", a, b, fmod=1)
        for op in ("Min", "Max"):
            yield single(f"{np.dtype(dtype)}", op, a, b)
        yield single(f"{np.dtype(dtype)}", "Neg", a)
        yield single(f"{np.dtype(dtype)}", "Abs", a)


def _unary() -> Iterator[Case]:
    x, positive = normal(2, 3, 4, 5, scale=3.0), uniform(0.05, 5.0, 2, 3, 4, 5)
    for op in ("Abs", "Neg", "Floor", "Ceil", "Round", "Sign", "Exp", "Sin", "Cos", "Erf", "Identity"):
        yield single("plain", op, x)
    for op in ("Sqrt", "Log", "Reciprocal"):
        yield single("plain", op, positive)
    halves = np.arange(-4.5, 5.0, 0.5, dtype=np.float32)
    for op in ("Round", "Floor", "Ceil"):
        yield single("halves", op, halves)
    special = np.array([-np.inf, -1e30, -0.0, 0.0, 1e-38, 1e30, np.inf], np.float32)
    for op in ("Exp", "Abs", "Neg", "Tanh", "Sigmoid", "Relu", "Erf", "Softplus"):
        yield single("special values", op, special)
    yield single("not", "Not", np.array([True, False, True]))
    for opset in (7, 9, 13):
        yield single("plain", "Exp", x, opset=opset)


def _compare_and_select() -> Iterator[Case]:
    a = np.round(normal(2, 3, 4, scale=2.0))
    b = np.round(normal(3, 4, seed=1, scale=2.0))
    for op in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
        yield single("floats", op, a, b)
        yield single("int64", op, a.astype(np.int64), b.astype(np.int64))
    for op in ("And", "Or", "Xor"):
        yield single("broadcast", op, a > 0, b > 0)
    yield single("broadcast", "Where", b > 0, a, Const(np.float32(-1.0)))
    yield single("condition broadcast", "Where", (a > 0)[:, :1, :1], a, normal(3, 4))
    yield single("int64", "Where", b > 0, a.astype(np.int64), Const(np.array(7, np.int64)))


def _variadic() -> Iterator[Case]:
    arrays = [normal(2, 3, 4), normal(3, 1, seed=1), normal(1, 4, seed=2)]
    for op in ("Sum", "Mean", "Max", "Min"):
        for count in (1, 2, 3):
            yield single(f"{count} inputs", op, *arrays[:count])
        yield single("same shape", op, normal(2, 3), normal(2, 3, seed=1), opset=7)


def _casts() -> Iterator[Case]:
    floats = normal(3, 4, scale=4.0)
    types = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11}
    for name in ("int32", "int64", "bool", "float16", "float32"):
        yield single(f"float32 to {name}", "Cast", floats, to=types[name])
    yield single("float32 to uint8", "Cast", abs(floats), to=types["uint8"])
    for source in (np.int32, np.int64, np.bool_, np.uint8, np.int8):
        yield single(f"{np.dtype(source)} to float32", "Cast", abs(floats).astype(source), to=1)
    yield single("int64 to int32", "Cast", floats.astype(np.int64), to=6)
    yield single("int64 to bool", "Cast", floats.astype(np.int64), to=9)
    yield single("bool to int64", "Cast", floats > 0, to=7)
    for opset in (7, 9, 13):
        yield single("float32 to int32", "Cast", floats, to=6, opset=opset)
    yield single("plain", "CastLike", floats, Const(np.zeros(1, np.int32)))
