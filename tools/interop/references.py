"""The runtimes that we are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter, OpResolverType

ort.set_default_logger_severity(4)


def onnx_runtime(
    model: Path | bytes, inputs: Mapping[str, np.ndarray], optimize: bool = True, each: bool = False
) -> dict[str, np.ndarray]:
    """Outputs of ONNX Runtime, by name; `each` runs one sample at a time.

    Quantized models need `optimize=False`: the kernels that its optimizer fuses Q/DQ pairs into
    saturate in 16 bits on CPUs with AVX2 and without VNNI (more than 10 dB off, measured), while
    the operators as they stand in the file compute what the file says.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(feed)), strict=True))

    return one_by_one(run, inputs) if each else run(inputs)


def one_by_one(
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Runs every sample alone and joins the outputs."""
    count = len(next(iter(inputs.values())))
    runs = [run({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(count)]
    return {name: np.concatenate([outputs[name] for outputs in runs]) for name in runs[0]}


class LiteRt:
    """A model in LiteRT: its own kernels and XNNPACK, or (`reference`) the reference kernels alone."""

    def __init__(self, model: Path, reference: bool = False) -> None:
        """Loads a file."""
        resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
        self._interpreter = Interpreter(str(model), experimental_op_resolver_type=resolver, num_threads=2)
        self._interpreter.allocate_tensors()

    def inputs(self) -> list[dict]:
        """Name, shape, dtype and quantization of the inputs."""
        details: list[dict] = self._interpreter.get_input_details()
        return details

    def outputs(self) -> list[dict]:
        """Name, shape, dtype and quantization of the outputs."""
        details: list[dict] = self._interpreter.get_output_details()
        return details

    def tensors(self) -> list[dict]:
        """All tensors of the file, those that delegates add left out."""
        return [t for t in self._interpreter.get_tensor_details() if t["name"]]

    def free_batch(self) -> bool:
        """Whether the file leaves the first dimension open."""
        return all(detail["shape_signature"][0] == -1 for detail in self.inputs())

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name; a free first dimension takes the size that the arrays have."""
        details = self._match(inputs)
        changed = [(d, a) for d, a in details if tuple(d["shape"]) != a.shape]
        for detail, array in changed:
            self._interpreter.resize_tensor_input(detail["index"], array.shape, strict=True)
        if changed:
            self._interpreter.allocate_tensors()
        for detail, array in details:
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        return {d["name"]: self._interpreter.get_tensor(d["index"]) for d in self.outputs()}

    def run_each(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `run`, one sample at a time: for models of a fixed batch of 1."""
        return one_by_one(self.run, inputs)

    def _match(self, inputs: Mapping[str, np.ndarray]) -> list[tuple[dict, np.ndarray]]:
        details = {detail["name"]: detail for detail in self.inputs()}
        missing = set(inputs) - set(details)
        if missing:
            raise KeyError(f"LiteRT has the inputs {sorted(details)}, not {sorted(missing)}")
        return [(details[name], np.asarray(array, order="C")) for name, array in inputs.items()]
