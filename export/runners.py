"""The two that are compared, under one signature: a model in eager PyTorch, and a graph in ONNX Runtime."""

from __future__ import annotations

from collections import Counter, defaultdict
from importlib import metadata

import onnx
import onnxruntime as ort
import onnxscript
import torch
from torch import Tensor

from headrace.spec import LENGTHS, ModelSpec
from headrace.training.models import SequenceModel

from .caches import NEW
from .kept import keeping
from .streams import Named, Runner


def eager(model: SequenceModel, spec: ModelSpec) -> Runner:
    """`model.step` under the names of the graph."""

    @torch.no_grad()
    def run(feed: Named) -> Named:
        tensors = {name: torch.from_numpy(values) for name, values in feed.items()}
        states = {s.name: tensors[s.input] for s in spec.states}
        y, end = model.step(bare(tuple(tensors[i.name] for i in spec.inputs)), tensors[LENGTHS], states)
        results = {o.name: part.numpy() for o, part in zip(spec.outputs, several(y), strict=True)}
        return results | {s.output: end[s.name].numpy() for s in spec.states}

    return run


def runtime(graph: onnx.ModelProto) -> Runner:
    """`graph` in ONNX Runtime, on one thread of the CPU; of one made by `plain`, the caches as states."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    run: Runner = lambda feed: dict(zip(names, session.run(names, feed), strict=True))  # noqa: E731
    grown = [name.removesuffix(NEW) for name in names if name.endswith(NEW)]
    return keeping(run, grown) if grown else run


def placement(graph: onnx.ModelProto) -> list[tuple[str, str]]:
    """Provider and, in words, the operators that it runs, on the CPU."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.log_severity_level = 3
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name].update(node.op_type for node in part.get_nodes())
    return [(name, ", ".join(f"{count} {op}" for op, count in sorted(nodes.items()))) for name, nodes in found.items()]


def bare(tensors: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """As a model's `step` takes its inputs: a single one alone, several as a tuple."""
    return tensors[0] if len(tensors) == 1 else tensors


def several(tensors: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The reverse of `bare`."""
    return (tensors,) if isinstance(tensors, Tensor) else tensors


def versions() -> dict[str, str]:
    """Versions of the packages that make a file, and of those that it was checked with."""
    return {
        "headrace": metadata.version("headrace"),
        "onnx": onnx.__version__,
        "onnxruntime": ort.__version__,
        "onnxscript": onnxscript.__version__,
        "torch": torch.__version__,
    }
