"""Weights of four bits: files that we write in ONNX Runtime and LiteRT, files that they are made for in
our engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import fewbits
import models
from compare import only, sqnr_db
from references import LiteRt, onnx_runtime
from results import Suite, require
from written_files import HYBRID

SAME_DB = 90.0
"""Float arithmetic on the same dequantized weights, in another order."""

INTEGER_DB = {".onnx": 25.0, ".tflite": 15.0}
"""Least signal-to-noise ratio of integer models: one unit here and there adds up with depth, see
`written_files.CLOSE_DB`. LiteRT's kernels for int4 convolutions round in fixed point."""

HYBRID_DB = 15.0
"""Of those with dynamic layers among integer ones: `written_files.CLOSE_DB` again."""

WEIGHT_ONLY = ("--activations", "float", "--weights", "4")

SHAPES = [(96, 48, 32), (100, 33, 16), (64, 40, 64), (17, 5, 16)]
"""Inputs, outputs and block sizes: whole blocks, a short last one, one that holds a channel."""

ROWS = 5

MODELS = ("efficientnet_lite0_dyn.onnx", "minilm_l6_dyn.onnx", "resnet20_cifar10_jpegft_dyn.onnx")
"""One of each kind: depthwise layers, an encoder, a residual network."""

HALF = 0.225
"""Most of the float file that an encoder's file with int4 weights takes: embeddings of 8 bits are half of it."""

RATIO = 0.155

BLOCKED_RATIO = 0.17
"""A scale for 32 weights is another bit for each."""


def run(suite: Suite) -> None:
    """Products that others made, then whole models."""
    random = np.random.default_rng(4)
    for name, model, inputs in foreign(random):
        with suite.check(name):
            _compare_onnx(model, inputs)
    if not models.available():
        suite.skip("../shared is absent")
        return
    with tempfile.TemporaryDirectory() as directory:
        for model in models.FLOAT_MODELS:
            if model.file in MODELS:
                _whole_model(suite, model, Path(directory))


def foreign(random: np.random.Generator) -> Iterator[tuple[str, onnx.ModelProto, models.Samples]]:
    """Products with int4 weights in every spelling that ONNX Runtime has."""
    for k, n, block in SHAPES:
        blocks = -(-k // block)
        integers = random.integers(-8, 8, (n, k)).astype(np.int8)
        scales = random.uniform(0.01, 0.02, (n, blocks)).astype(np.float32)
        zeros = random.integers(-8, 8, (n, blocks)).astype(np.int8)
        x = random.standard_normal((2, ROWS, k)).astype(np.float32)
        for label, points in (("", None), (" with zero points", zeros)):
            shape = f"{k}x{n} in blocks of {block}{label}"
            yield f"DequantizeLinear, MatMul {shape}", _dequantized(integers, scales, points, block, x.shape), {"x": x}
            yield f"MatMulNBits {shape}", _n_bits(integers, scales, points, block, x.shape), {"x": x}
    kernel = random.integers(-8, 8, (6, 4, 3, 3)).astype(np.int8)
    image = random.standard_normal((1, 4, 7, 7)).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    scales = numpy_helper.from_array(random.uniform(0.01, 0.02, 6).astype(np.float32), "s")
    yield "DequantizeLinear, Conv", _model(nodes, [_int4("q", kernel), scales], image.shape, (1, 6, 5, 5)), {"x": image}


def _packed(values: np.ndarray) -> np.ndarray:
    nibbles = (values.reshape(-1) & 0xF).astype(np.uint8)
    nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    return nibbles[0::2] | (nibbles[1::2] << 4)


def _int4(name: str, values: np.ndarray) -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT4, values.shape, _packed(values).tobytes(), raw=True)


def _model(
    nodes: list[onnx.NodeProto], constants: list[TensorProto], shape: tuple[int, ...], out: tuple[int, ...]
) -> onnx.ModelProto:
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s)] for n, s in (("x", shape), ("y", out))]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph(nodes, "int4", *ends, constants), opset_imports=opsets, ir_version=10)


def _dequantized(
    integers: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None, block: int, shape: tuple[int, ...]
) -> onnx.ModelProto:
    constants = [_int4("q", integers.T), numpy_helper.from_array(np.ascontiguousarray(scales.T), "s")]
    names = ["q", "s"]
    if zeros is not None:
        constants.append(_int4("z", zeros.T))
        names.append("z")
    nodes = [
        helper.make_node("DequantizeLinear", names, ["w"], axis=0, block_size=block),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    return _model(nodes, constants, shape, (*shape[:-1], len(integers)))


def _n_bits(
    integers: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None, block: int, shape: tuple[int, ...]
) -> onnx.ModelProto:
    (n, k), blocks = integers.shape, scales.shape[1]
    filled = np.pad(integers + 8, ((0, 0), (0, blocks * block - k)))
    constants = [
        numpy_helper.from_array(_packed(filled).reshape(n, blocks, block // 2), "b"),
        numpy_helper.from_array(scales.reshape(-1), "s"),
    ]
    names = ["x", "b", "s"]
    if zeros is not None:
        even = np.pad(zeros + 8, ((0, 0), (0, blocks % 2)))
        constants.append(numpy_helper.from_array(_packed(even), "z"))
        names.append("z")
    node = helper.make_node("MatMulNBits", names, ["y"], domain="com.microsoft", K=k, N=n, bits=4, block_size=block)
    return _model([node], constants, shape, (*shape[:-1], n))


def _compare_onnx(model: onnx.ModelProto, inputs: models.Samples) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "m.onnx"
        onnx.save(model, file)
        ours, theirs = only(fewbits.run(file, inputs)), only(onnx_runtime(file, inputs, optimize=False))
    closeness = sqnr_db(ours, theirs)
    require(closeness >= SAME_DB, f"{closeness:.1f} dB from ONNX Runtime")


def _whole_model(suite: Suite, model: models.Shared, folder: Path) -> None:
    samples = model.samples(8, 48)
    calibration = folder / f"{model.path.stem}.npz"
    np.savez(calibration, **model.samples(24, 0))
    integer = ("--mode", "int8", "--weights", "4", "--data", calibration, "--samples", "16")
    for extension in (".onnx", ".tflite"):
        for label, flags, least in (
            ("w4", WEIGHT_ONLY, SAME_DB),
            ("w4 in blocks", (*WEIGHT_ONLY, "--block", "32"), SAME_DB),
            ("w4a8", integer, HYBRID_DB if model.file in HYBRID else INTEGER_DB[extension]),
        ):
            output = folder / f"{model.path.stem}{extension}"
            with suite.check(f"{model.file} {label} {extension}"):
                _quantize(model, samples, output, flags)
                _agree(model, samples, output, least)
                ratio = output.stat().st_size / model.path.stat().st_size
                limit = HALF if model.file in HYBRID else BLOCKED_RATIO if "blocks" in label else RATIO
                require(ratio <= limit, f"ratio {ratio:.4f}, expected at most {limit}")


def _quantize(model: models.Shared, samples: models.Samples, output: Path, flags: tuple[str | Path, ...]) -> None:
    options = list(flags)
    if model.fix_for_tflite and output.suffix == ".tflite":
        options += ["--input-shape", *(f"{name}={'x'.join(map(str, a.shape))}" for name, a in samples.items())]
    fewbits.command("quantize", model.path, "-o", output, *options)


def _agree(model: models.Shared, samples: models.Samples, output: Path, least: float) -> None:
    if output.suffix == ".onnx":
        theirs = only(onnx_runtime(output, samples, optimize=False))
    else:
        runtime = LiteRt(output)
        whole = runtime.free_batch() or model.fix_for_tflite
        theirs = only(runtime.run(samples) if whole else runtime.run_each(samples))
    closeness = sqnr_db(only(fewbits.run(output, samples)), theirs)
    require(closeness >= least, f"{closeness:.1f} dB from the runtime, expected {least}")
