"""Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphs import Builder, Case, Const, Input, normal, single


def cases() -> Iterator[Case]:
    """All of this module's models."""
    yield from _conv()
    yield from _conv_automatic_padding()
    yield from _conv_1d()
    yield from _conv_transpose()
    yield from _fused()


def _conv_case(name: str, x: tuple[int, ...], w: tuple[int, ...], bias: bool = True, **rest: Any) -> Case:
    operands = [normal(*x), Const(normal(*w, seed=1, scale=0.3))]
    if bias:
        operands.append(Const(normal(w[0], seed=2)))
    return single(name, "Conv", *operands, kernel_shape=list(w[2:]), **rest)


def _conv() -> Iterator[Case]:
    x, w = (2, 6, 11, 9), (8, 6, 3, 3)
    for opset in (7, 9, 11, 13, 17, 21):
        yield _conv_case("plain", x, w, opset=opset)
    yield _conv_case("without bias", x, w, bias=False)
    yield _conv_case("pointwise", x, (16, 6, 1, 1))
    yield _conv_case("pointwise strided", x, (16, 6, 1, 1), strides=[2, 2])
    yield _conv_case("padded", x, w, pads=[1, 1, 1, 1])
    yield _conv_case("asymmetric padding", x, w, pads=[0, 1, 2, 3], strides=[2, 2])
    yield _conv_case("strides differ", x, w, strides=[2, 1], pads=[1, 0, 1, 0])
    yield _conv_case("dilated", x, w, dilations=[2, 3], pads=[2, 3, 2, 3])
    yield _conv_case("dilated strided", x, w, dilations=[2, 2], strides=[2, 2], pads=[2, 2, 2, 2])
    yield _conv_case("wide kernel", x, (5, 6, 1, 7), pads=[0, 3, 0, 3])
    yield _conv_case("tall kernel", x, (5, 6, 5, 2), pads=[2, 0, 2, 1])
    yield _conv_case("kernel as large as the input", (1, 3, 5, 5), (4, 3, 5, 5))
    yield _conv_case("stem", (1, 3, 33, 33), (32, 3, 3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
    yield _conv_case("many channels", (1, 67, 7, 7), (35, 67, 3, 3), pads=[1, 1, 1, 1])
    yield _conv_case("groups", x, (8, 3, 3, 3), group=2, pads=[1, 1, 1, 1])
    yield _conv_case("groups without bias", (1, 12, 8, 8), (12, 3, 3, 3), bias=False, group=4, strides=[2, 2])
    yield _conv_case("groups dilated", (1, 8, 9, 9), (4, 4, 3, 3), group=2, dilations=[2, 2])
    yield _conv_case("depthwise", x, (6, 1, 3, 3), group=6, pads=[1, 1, 1, 1])
    yield _conv_case("depthwise strided", x, (6, 1, 5, 5), group=6, strides=[2, 2], pads=[1, 2, 2, 1])
    yield _conv_case("depthwise dilated", x, (6, 1, 3, 3), group=6, dilations=[2, 1], pads=[2, 1, 2, 1])
    yield _conv_case("depthwise multiplier", x, (12, 1, 3, 3), group=6, pads=[1, 1, 1, 1])
    yield _conv_case("depthwise without bias", (1, 33, 8, 8), (33, 1, 3, 3), bias=False, group=33)
    yield _conv_case("depthwise of one channel", (1, 1, 8, 8), (4, 1, 3, 3))
    yield single(
        "free sizes", "Conv", Input(normal(2, 3, 10, 12), ["N", 3, "H", "W"]), Const(normal(4, 3, 3, 3)), pads=[1] * 4
    )


def _conv_automatic_padding() -> Iterator[Case]:
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"):
        for stride in (1, 2):
            for opset in (7, 17):
                yield _conv_case(
                    f"{mode} stride {stride}",
                    (1, 4, 10, 7),
                    (5, 4, 3, 4),
                    opset=opset,
                    auto_pad=mode,
                    strides=[stride, stride],
                )
    yield _conv_case(
        "SAME_UPPER depthwise", (1, 4, 10, 7), (4, 1, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2], group=4
    )


def _conv_1d() -> Iterator[Case]:
    x = (2, 6, 20)
    for opset in (7, 11, 17):
        yield _conv_case("1-D", x, (8, 6, 3), opset=opset)
    yield _conv_case("1-D padded", x, (8, 6, 5), pads=[1, 3], strides=[2])
    yield _conv_case("1-D dilated", x, (8, 6, 3), dilations=[4], pads=[4, 4])
    yield _conv_case("1-D groups", x, (4, 3, 3), group=2)
    yield _conv_case("1-D depthwise", x, (6, 1, 3), group=6, pads=[1, 1])
    yield _conv_case("1-D SAME_LOWER", x, (8, 6, 4), auto_pad="SAME_LOWER", strides=[3])


def _transposed(name: str, x: tuple[int, ...], w: tuple[int, ...], bias: int = 0, **rest: Any) -> Case:
    operands = [normal(*x), Const(normal(*w, seed=1, scale=0.3))]
    if bias:
        operands.append(Const(normal(bias, seed=2)))
    return single(name, "ConvTranspose", *operands, **rest)


def _conv_transpose() -> Iterator[Case]:
    x, w = (2, 6, 5, 7), (6, 4, 3, 3)
    for opset in (7, 11, 17, 21):
        yield _transposed("plain", x, w, 4, opset=opset)
    yield _transposed("without bias", x, w)
    yield _transposed("upsampling", x, (6, 4, 2, 2), 4, strides=[2, 2])
    yield _transposed("kernel 4 stride 2", x, (6, 4, 4, 4), 4, strides=[2, 2], pads=[1, 1, 1, 1])
    yield _transposed("output padding", x, w, 4, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    yield _transposed("output shape", x, w, 4, strides=[2, 2], output_shape=[10, 14])
    yield _transposed("output shape SAME_UPPER", x, w, 4, strides=[2, 2], output_shape=[10, 14], auto_pad="SAME_UPPER")
    yield _transposed("SAME_UPPER", x, w, 4, strides=[2, 2], auto_pad="SAME_UPPER")
    yield _transposed("SAME_LOWER", x, w, 4, strides=[2, 2], auto_pad="SAME_LOWER")
    yield _transposed("VALID", x, w, 4, strides=[2, 1], auto_pad="VALID")
    yield _transposed("asymmetric padding", x, w, 4, strides=[3, 2], pads=[0, 1, 2, 1])
    yield _transposed("dilated", x, w, 4, dilations=[2, 2])
    yield _transposed("stride beyond kernel", x, (6, 4, 2, 2), 4, strides=[3, 3])
    yield _transposed("groups", x, (6, 2, 3, 3), 4, group=2, strides=[2, 2])
    yield _transposed("depthwise", x, (6, 1, 4, 4), 6, group=6, strides=[2, 2], pads=[1, 1, 1, 1])
    yield _transposed("1-D", (2, 6, 9), (6, 4, 3), 4, strides=[2])
    yield _transposed("1-D output padding", (2, 6, 9), (6, 4, 4), 4, strides=[3], pads=[1, 1], output_padding=[1])


def _fused() -> Iterator[Case]:
    """Chains that a simplifier turns into one convolution."""
    for activation, alpha in (("Relu", None), ("LeakyRelu", 0.2), ("Sigmoid", None), ("HardSwish", None)):
        b = Builder(f"Conv+BatchNormalization+{activation}")
        x = b.input(normal(2, 5, 8, 8))
        y = b.node("Conv", x, b.const(normal(7, 5, 3, 3, seed=1)), pads=[1, 1, 1, 1])
        y = _batch_norm(b, y, 7)
        yield b.case(b.node(activation, y, alpha=alpha))
    yield _depthwise_clip()
    yield _residual()
    yield _pad_conv()
    yield _scaled_conv()


def _batch_norm(b: Builder, x: str, channels: int) -> str:
    scale, bias, mean = (b.const(normal(channels, seed=s)) for s in (3, 4, 5))
    variance = b.const(abs(normal(channels, seed=6)) + 0.1)
    return b.node("BatchNormalization", x, scale, bias, mean, variance, epsilon=1e-3)


def _depthwise_clip() -> Case:
    b = Builder("depthwise Conv+BatchNormalization+Clip")
    x = b.input(normal(1, 6, 9, 9))
    y = b.node("Conv", x, b.const(normal(6, 1, 3, 3, seed=1)), group=6, strides=[2, 2], pads=[0, 0, 1, 1])
    y = _batch_norm(b, y, 6)
    return b.case(b.node("Clip", y, b.const(0.0), b.const(6.0)))


def _residual() -> Case:
    b = Builder("residual block")
    x = b.input(normal(2, 6, 8, 8))
    y = b.node("Conv", x, b.const(normal(6, 6, 3, 3, seed=1, scale=0.2)), b.const(normal(6)), pads=[1] * 4)
    y = b.node("Relu", y)
    y = b.node("Conv", y, b.const(normal(6, 6, 3, 3, seed=2, scale=0.2)), pads=[1] * 4)
    y = b.node("Relu", b.node("Add", y, x))
    y = b.node("GlobalAveragePool", y)
    y = b.node("Flatten", y)
    return b.case(b.node("Gemm", y, b.const(normal(10, 6, seed=3)), b.const(normal(10, seed=4)), transB=1))


def _pad_conv() -> Case:
    b = Builder("Pad+Conv")
    x = b.input(normal(1, 3, 8, 8))
    y = b.node("Pad", x, b.const([0, 0, 0, 0, 0, 0, 1, 1]))
    return b.case(b.node("Conv", y, b.const(normal(4, 3, 3, 3, seed=1)), strides=[2, 2]))


def _scaled_conv() -> Case:
    b = Builder("Conv+Mul+Add by channel")
    x = b.input(normal(1, 3, 8, 8))
    y = b.node("Conv", x, b.const(normal(4, 3, 3, 3, seed=1)), b.const(normal(4)))
    y = b.node("Mul", y, b.const(normal(1, 4, 1, 1, seed=2)))
    return b.case(b.node("Add", y, b.const(normal(4, 1, 1, seed=3))))
