"""Nodes of a graph, written one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Nodes:
    """Collects nodes and constants; called, it adds a node and tells the name of what it gives. Mutable: both lists."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def __call__(self, operator: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any) -> str:
        """out: the name of the result, made up if it is not given."""
        return self.several(operator, *inputs, out=[out or self._name()], domain=domain, **attributes)[0]

    def several(self, operator: str, *inputs: str, out: list[str], domain: str = "", **attributes: Any) -> list[str]:
        self.nodes.append(helper.make_node(operator, inputs, out, domain=domain, **attributes))
        return out

    def ints(self, *values: int) -> str:
        """A constant, int64 [values]."""
        return self._constant(f"ints:{values}", np.array(values, np.int64))

    def number(self, value: float) -> str:
        """A constant, float32 []."""
        return self._constant(f"float:{value!r}", np.array(value, np.float32))

    def whole(self, value: int) -> str:
        """A constant, int64 []."""
        return self._constant(f"int:{value}", np.array(value, np.int64))

    def _constant(self, what: str, cells: NDArray[Any]) -> str:
        name = f"{self._prefix}:{what}"
        self.constants[name] = numpy_helper.from_array(cells, name)
        return name

    def _name(self) -> str:
        return f"{self._prefix}:{len(self.nodes)}"
