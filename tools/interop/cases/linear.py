"""Gemm, MatMul and what is built of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphs import Builder, Case, Const, Input, normal, single


def cases() -> Iterator[Case]:
    """All of this module's models."""
    yield from _gemm()
    yield from _matmul()
    yield _linear_layer("MatMul+Add", 2)
    yield _linear_layer("MatMul+Add of three dimensions", 3)
    yield _attention()


def _gemm() -> Iterator[Case]:
    a, w = normal(3, 5), normal(5, 7, seed=1)
    for opset in (7, 9, 11, 13, 17, 21):
        yield single("plain", "Gemm", a, Const(w), Const(normal(7, seed=2)), opset=opset)
    yield single("without C", "Gemm", a, Const(w), opset=11)
    yield single("transB", "Gemm", a, Const(normal(7, 5)), Const(normal(7, seed=2)), transB=1)
    yield single("transA", "Gemm", normal(5, 3), Const(w), Const(normal(7, seed=2)), transA=1)
    yield single("transA transB", "Gemm", normal(5, 3), Const(normal(7, 5)), transA=1, transB=1)
    yield single("alpha beta", "Gemm", a, Const(w), Const(normal(7, seed=2)), alpha=0.5, beta=-2.0)
    yield single("beta 0", "Gemm", a, Const(w), Const(normal(7, seed=2)), beta=0.0)
    for name, shape in (("scalar", ()), ("one", (1,)), ("row", (1, 7)), ("column", (3, 1)), ("matrix", (3, 7))):
        yield single(f"C {name}", "Gemm", a, Const(w), Const(normal(*shape, seed=2)))
    yield single("computed B", "Gemm", a, w, normal(7, seed=2))
    yield single("computed B transposed", "Gemm", a, normal(7, 5), normal(3, 7, seed=2), transB=1, alpha=0.25)
    yield single("constant A", "Gemm", Const(a), w)
    yield single("free batch", "Gemm", Input(a, ["N", 5]), Const(normal(70, 5)), Const(normal(70)), transB=1)


def _matmul() -> Iterator[Case]:
    shapes = {
        "matrices": ((3, 5), (5, 4)),
        "vector × matrix": ((5,), (5, 4)),
        "matrix × vector": ((3, 5), (5,)),
        "vector × vector": ((5,), (5,)),
        "batched": ((2, 3, 5), (2, 5, 4)),
        "batch × matrix": ((2, 3, 5), (5, 4)),
        "matrix × batch": ((3, 5), (2, 5, 4)),
        "four dimensions": ((2, 3, 4, 5), (2, 3, 5, 6)),
        "broadcast": ((2, 1, 4, 5), (3, 5, 6)),
        "broadcast both": ((2, 1, 4, 5), (1, 3, 5, 6)),
        "vector × batch": ((5,), (3, 5, 4)),
        "batch × vector": ((3, 4, 5), (5,)),
    }
    for name, (a, b) in shapes.items():
        yield single(name, "MatMul", normal(*a), normal(*b, seed=1))
        yield single(f"{name}, constant B", "MatMul", normal(*a), Const(normal(*b, seed=1)))
    yield single("constant A", "MatMul", Const(normal(3, 5)), normal(2, 5, 4, seed=1))
    yield single("free", "MatMul", Input(normal(2, 3, 8), ["N", "S", 8]), Const(normal(8, 16)))
    for opset in (7, 9, 13):
        yield single("matrices", "MatMul", normal(33, 65), Const(normal(65, 31)), opset=opset)


def _linear_layer(name: str, rank: int) -> Case:
    b = Builder(name)
    x = b.input(normal(*(2, 3, 8)[3 - rank :]))
    y = b.node("MatMul", x, b.const(normal(8, 6)))
    return b.case(b.node("Add", b.const(normal(6, seed=1)), y))


def _attention() -> Case:
    """Self-attention as PyTorch exports it: sizes come from Shape and Gather."""
    b = Builder("attention with shape arithmetic")
    x = b.input(normal(2, 5, 16), ["N", "S", 16])
    shape = b.node("Shape", x)
    zero = b.const([0])
    sizes = [b.node("Gather", shape, b.const(np.array(i, np.int64)), axis=0) for i in (0, 1)]
    batch, length = (b.node("Unsqueeze", size, zero) for size in sizes)
    split = b.node("Concat", batch, length, b.const([4]), b.const([4]), axis=0)
    merged = b.node("Concat", batch, length, b.const([16]), axis=0)

    def head(seed: int, perm: list[int]) -> str:
        y = b.node("MatMul", x, b.const(normal(16, 16, seed=seed, scale=0.3)))
        y = b.node("Add", y, b.const(normal(16, seed=seed)))
        return b.node("Transpose", b.node("Reshape", y, split), perm=perm)

    scores = b.node("MatMul", head(1, [0, 2, 1, 3]), head(2, [0, 2, 3, 1]))
    weights = b.node("Softmax", b.node("Div", scores, b.const(2.0)), axis=-1)
    mixed = b.node("Transpose", b.node("MatMul", weights, head(3, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    return b.case(b.node("Reshape", mixed, merged))
