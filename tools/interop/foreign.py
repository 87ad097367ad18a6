"""Models that ONNX Runtime's own tools quantized, in our engine."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

import fewbits
import models
from compare import TOP1, only, sqnr_db, top1_agreement
from references import onnx_runtime
from results import Suite, require

CALIBRATION = 24
"""Samples that ONNX Runtime chooses ranges from."""

CLOSE_DB = 40.0
"""Of half-precision models without classes: least signal-to-noise ratio between the engines."""

SLACK_DB = 0.5
"""By how much we may be further from the float model than ONNX Runtime."""


class Rows(CalibrationDataReader):
    """Samples one by one, as ONNX Runtime's calibrator wants them."""

    def __init__(self, samples: models.Samples) -> None:
        """Rows of the arrays."""
        count = len(next(iter(samples.values())))
        self._rows = iter([{name: a[i : i + 1] for name, a in samples.items()} for i in range(count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample."""
        return next(self._rows, None)


Write = Callable[[models.Shared, Path], None]
"""Makes the quantized file of a model."""


def _static(format: QuantFormat, activations: QuantType, weights: QuantType) -> Write:
    """`quantize_static`; per channel where the weights are signed, as ONNX Runtime advises."""

    def write(model: models.Shared, output: Path) -> None:
        prepared = output.with_suffix(".prepared.onnx")
        quant_pre_process(str(model.path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(output),
            Rows(model.samples(CALIBRATION, 0)),
            quant_format=format,
            activation_type=activations,
            weight_type=weights,
            per_channel=weights == QuantType.QInt8,
        )

    return write


def _dynamic(weights: QuantType, per_channel: bool = False) -> Write:
    """`quantize_dynamic`. Signed weights are of 7 bits: the kernels of U8S8 products saturate in 16
    bits on CPUs with AVX2 and without VNNI, and are then no reference for anybody."""

    def write(model: models.Shared, output: Path) -> None:
        reduce = weights == QuantType.QInt8
        quantize_dynamic(
            str(model.path), str(output), weight_type=weights, per_channel=per_channel, reduce_range=reduce
        )

    return write


SIGNED, UNSIGNED = QuantType.QInt8, QuantType.QUInt8

SAME = {
    "QDQ S8S8": _static(QuantFormat.QDQ, SIGNED, SIGNED),
    "QDQ U8S8": _static(QuantFormat.QDQ, UNSIGNED, SIGNED),
    "QDQ U8U8": _static(QuantFormat.QDQ, UNSIGNED, UNSIGNED),
    "QOperator S8S8": _static(QuantFormat.QOperator, SIGNED, SIGNED),
    "QOperator U8U8": _static(QuantFormat.QOperator, UNSIGNED, UNSIGNED),
    "float16": lambda model, output: _write_float16(model.path, output),
}
"""Files that say what every number is: both engines must give the same."""

OWN_SCALES = {
    "dynamic S8": _dynamic(SIGNED),
    "dynamic S8 per channel": _dynamic(SIGNED, per_channel=True),
    "dynamic U8": _dynamic(UNSIGNED),
}
"""Files whose activations are quantized as they come: ONNX Runtime takes one scale for a whole
tensor, our engine one for each row, which is finer. So ours must be as close to the float model as
ONNX Runtime is, not as close to ONNX Runtime."""

FILES = {
    "resnet20_cifar10_jpegft_dyn.onnx": (*SAME, *OWN_SCALES),
    # One scale a tensor destroys this network's depthwise weights in any runtime (agreement with
    # float near 0), and then nothing can be compared.
    "mobilenet_v1_025_224_dyn.onnx": ("QDQ S8S8", "QDQ U8S8", "QOperator S8S8", "float16"),
    "minilm_l6_dyn.onnx": (*OWN_SCALES, "float16"),
}


def run(suite: Suite) -> None:
    """Quantizes shared float models with ONNX Runtime and runs the results in both engines."""
    if not models.available():
        suite.skip("../shared is absent")
        return
    logging.getLogger().setLevel(logging.ERROR)  # The quantizer's advice is not for us.
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "foreign.onnx"
        for model in models.FLOAT_MODELS:
            for name in FILES.get(model.file, ()):
                with suite.check(f"{model.file} {name}"):
                    (SAME | OWN_SCALES)[name](model, output)
                    _compare(suite, model, name, output)


def _compare(suite: Suite, model: models.Shared, name: str, file: Path) -> None:
    samples = model.samples(min(model.count, 100), CALIBRATION)
    given = _half(samples) if name == "float16" else samples
    theirs = only(onnx_runtime(file, given, optimize=False))
    ours = only(fewbits.run(file, given))
    require(ours.shape == theirs.shape, f"shape {ours.shape}, expected {theirs.shape}")
    require(ours.dtype == theirs.dtype, f"type {ours.dtype}, expected {theirs.dtype}")
    agreement, closeness = top1_agreement(ours, theirs), sqnr_db(ours, theirs)
    text = f"top-1 agreement {agreement:.4f}, {closeness:.1f} dB on {len(theirs)} samples"
    if name in OWN_SCALES:
        exact = only(onnx_runtime(model.path, samples))
        our_error, their_error = sqnr_db(ours, exact), sqnr_db(theirs, exact)
        text += f"; against float: ours {our_error:.1f} dB, ONNX Runtime {their_error:.1f} dB"
        require(our_error >= their_error - SLACK_DB, text)
    elif model.classifier:
        require(agreement >= TOP1, text)
    else:
        require(closeness >= CLOSE_DB, text)
    suite.note(f"{model.file} {name}: {text}")


def _half(samples: models.Samples) -> models.Samples:
    return {name: a.astype(np.float16) if a.dtype == np.float32 else a for name, a in samples.items()}


def _write_float16(source: Path, output: Path) -> None:
    """Every float tensor of a model as half: initializers, constants, inputs, outputs, casts."""
    model = onnx.load(str(source))
    for tensor in model.graph.initializer:
        _to_half(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _to_half(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.FLOAT16
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del model.graph.value_info[:]
    onnx.save(model, str(output))


def _to_half(tensor: onnx.TensorProto) -> None:
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return
    finite = np.finfo(np.float16)
    array = np.clip(numpy_helper.to_array(tensor), finite.min, finite.max)
    tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
