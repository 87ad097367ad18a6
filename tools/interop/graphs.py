"""Small ONNX models, with the inputs that they are run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17
MICROSOFT = "com.microsoft"

Dimensions: TypeAlias = Sequence[int | str]


@dataclass(frozen=True)
class Case:
    """A model, and what it is run on."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Const:
    """An operand that is an initializer."""

    value: np.ndarray


@dataclass(frozen=True)
class Input:
    """An operand that is a graph input, declared with symbolic dimensions."""

    value: np.ndarray
    shape: Dimensions


Operand: TypeAlias = np.ndarray | Const | Input | None


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal floats that depend on the shape and the seed only."""
    generator = np.random.default_rng([seed, *shape, 7])
    return np.asarray(generator.standard_normal(shape) * scale, np.float32)


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray:
    """Uniform floats of [low, high)."""
    return np.asarray(np.random.default_rng([seed, *shape, 11]).uniform(low, high, shape), np.float32)


def ints(*values: int) -> Const:
    """A constant vector of int64."""
    return Const(np.array(values, np.int64))


def scalar(value: float, dtype: type = np.float32) -> Const:
    """A constant without dimensions."""
    return Const(np.array(value, dtype))


class Builder:
    """Builds one model, node by node."""

    def __init__(self, name: str, opset: int = OPSET) -> None:
        """An empty model of that name."""
        self.name = name
        self._opset = opset
        self._inputs: list[onnx.ValueInfoProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._domains: set[str] = set()
        self._values: dict[str, np.ndarray] = {}

    def input(self, value: np.ndarray, shape: Dimensions | None = None) -> str:
        """A graph input that gets `value`."""
        name = f"x{len(self._inputs)}"
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape or value.shape)))
        self._values[name] = value
        return name

    def const(self, value: np.ndarray | np.generic | float | list[int]) -> str:
        """An initializer; plain numbers become float32, lists int64."""
        dtypes = {float: np.float32, int: np.float32, list: np.int64}
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtypes.get(type(value))), name))
        return name

    def node(self, op: str, *inputs: str | None, domain: str = "", **attributes: Any) -> str:
        """A node of one output; the output's name. `None` is an input left out, or no attribute."""
        return self.nodes(op, 1, *inputs, domain=domain, **attributes)[0]

    def nodes(self, op: str, outputs: int, *inputs: str | None, domain: str = "", **attributes: Any) -> list[str]:
        """A node of several outputs; their names."""
        at = len(self._nodes)
        names = [f"{op.lower()}{at}_{i}" for i in range(outputs)]
        operands = [name or "" for name in inputs]
        attributes = {k: v for k, v in attributes.items() if v is not None}
        self._nodes.append(helper.make_node(op, operands, names, name=f"{op}_{at}", domain=domain, **attributes))
        self._domains.add(domain)
        return names

    def operand(self, operand: Operand) -> str | None:
        """The name of an operand of [`single`]."""
        match operand:
            case None:
                return None
            case Const(value):
                return self.const(value)
            case Input(value, shape):
                return self.input(value, shape)
            case _:
                return self.input(operand)

    def case(self, *outputs: str) -> Case:
        """The finished model, with inferred types of its outputs."""
        opset = helper.make_opsetid("", self._opset)
        opsets = [opset] + [helper.make_opsetid(domain, 1) for domain in sorted(self._domains - {""})]
        version = min(helper.find_min_ir_version_for([opset]), 11)
        inputs = self._inputs + (self._declared_constants() if version < 4 else [])
        untyped = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self._nodes, "g", inputs, untyped, self._constants)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=version)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for output in model.graph.output:
            if not output.type.WhichOneof("value"):
                # Few operators have no inference rule; those keep the type and shape of their input.
                output.type.CopyFrom(self._inputs[0].type)
        del model.graph.value_info[:]
        return Case(self.name, model, dict(self._values))

    def _declared_constants(self) -> list[onnx.ValueInfoProto]:
        """Initializers as graph inputs, which files of IR versions before 4 must declare."""
        return [helper.make_tensor_value_info(c.name, c.data_type, list(c.dims)) for c in self._constants]


def single(
    name: str, op: str, *operands: Operand, opset: int = OPSET, outputs: int = 1, domain: str = "", **attributes: Any
) -> Case:
    """A model of one node."""
    builder = Builder(f"{op}/{name}@{opset}", opset)
    inputs = [builder.operand(operand) for operand in operands]
    return builder.case(*builder.nodes(op, outputs, *inputs, domain=domain, **attributes))
