"""What an `.onnx` file says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from headrace.contract import Declared, carries_spec, declared, read_graph

#: Domains whose operators ONNX Runtime brings along.
KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


@dataclass(frozen=True, slots=True)
class Facts:
    """inputs and outputs: name → tensor; operators: name, with its domain unless it is ONNX's own, → how many."""

    file: Path
    model: onnx.ModelProto
    inputs: dict[str, Declared]
    outputs: dict[str, Declared]
    opsets: dict[str, int]
    operators: Counter[str]
    ours: bool

    @property
    def opset(self) -> int:
        """Of ONNX's own operators; 0 if it uses none."""
        return max(self.opsets.get("", 0), self.opsets.get("ai.onnx", 0))

    @property
    def strange_domains(self) -> list[str]:
        """Of operators that neither ONNX Runtime nor the file itself brings."""
        own = {function.domain for function in self.model.functions}
        used = {name.rpartition("::")[0] for name in self.operators}
        return sorted(used - own - set(KNOWN_DOMAINS))


def read(file: Path) -> Facts:
    """Raises ConfigurationError if the file is missing or corrupt."""
    model = read_graph(file)
    weights = {tensor.name for tensor in model.graph.initializer}
    return Facts(
        file,
        model,
        declared(i for i in model.graph.input if i.name not in weights),
        declared(model.graph.output),
        {opset.domain: opset.version for opset in model.opset_import},
        Counter(_operators(model.graph.node)),
        carries_spec(model),
    )


def _operators(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Those of branches and loops too."""
    for node in nodes:
        yield f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _operators(graph.node)
