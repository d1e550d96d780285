"""From a model to an ONNX graph: its ragged parts are made custom operators, it is traced, and the graph is tidied."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, CommonSubexpressionEliminationPass
from onnxscript.optimizer import optimize_ir
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from headrace.contract import check
from headrace.errors import ConfigurationError
from headrace.spec import ROWS, TOKENS, ModelSpec
from headrace.training.models import SequenceModel

from .overrides import ragged_operators, refuse
from .rotary import plainly_turned
from .runners import bare, several
from .translate import OPSET, OPSETS, TABLE
from .translate_padded import TABLE as PADDED

EXAMPLE = (2, 3, 1)
"""Lengths of the rows that are traced: with a single row the exporter would take 1 for a constant."""

LARGEST = 2**31
"""Constants up to this size are folded. The optimiser's own limit would leave the reordering of gates in the graph."""

DTYPES = {"float32": torch.float32, "int64": torch.int64}


def to_onnx(model: SequenceModel, spec: ModelSpec, opset: int = OPSET) -> onnx.ModelProto:
    """`model.step` as an ONNX graph with the names of `spec`; the model is left as it was, in evaluation mode.

    Inputs: each of the spec [tokens, *shape], `lengths` [rows] int64, each state [rows, *shape].
    Raises ConfigurationError for a model that cannot be exported, with the layer and the reason, or whose graph is not
    what the spec says.
    """
    refuse_opset(opset)
    refuse(model, spec)
    graph = _Graph(model, spec).eval()
    with torch.no_grad(), ragged_operators(model), quiet(), _told(spec):
        exported = _exported(graph, spec, opset)
    proto = tidied(exported) if spec.caches else plainly_turned(tidied(exported))
    check(proto, spec)
    return proto


def refuse_opset(opset: int) -> None:
    """Raises ConfigurationError for one that cannot be written."""
    if opset not in OPSETS:
        raise ConfigurationError(f"opset {opset} cannot be written; choose one from {OPSETS[0]} to {OPSETS[-1]}")


class _Graph(nn.Module):
    """`step` with its states in the order of the spec: flattened, the signature of the ONNX graph."""

    def __init__(self, model: SequenceModel, spec: ModelSpec) -> None:
        super().__init__()
        self.model, self.counts, self.names = model, spec.counts, [s.name for s in spec.states]

    def forward(
        self, inputs: tuple[Tensor, ...], lengths: Tensor, states: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, ...]:
        """states: the counts of the caches' cells, each [rows], then the states."""
        y, state = self.model.step(bare(inputs), lengths, dict(zip([*self.counts, *self.names], states, strict=True)))
        return *several(y), *(state[name] for name in self.names)


def _exported(graph: _Graph, spec: ModelSpec, opset: int) -> torch.onnx.ONNXProgram:
    """In two steps, since torch.onnx.export by itself would try several strategies and bury the first error."""
    axes = _axes(spec)
    program = torch.export.export(graph, _example(spec), dynamic_shapes=axes, strict=False)
    return written(program, axes, [i.name for i in spec.graph_inputs], [o.name for o in spec.graph_outputs], opset)


def written(
    program: ExportedProgram, axes: tuple[Any, ...], inputs: list[str], outputs: list[str], opset: int
) -> torch.onnx.ONNXProgram:
    """A traced program in ONNX, with the names given for its inputs and outputs. axes: as it was traced with."""
    exported = torch.onnx.export(
        program,
        dynamic_shapes=axes,  # once more: without it the axes lose their names
        dynamo=True,
        opset_version=opset,
        optimize=False,  # that is `tidied`
        verbose=False,
        external_data=False,
        input_names=inputs,
        output_names=outputs,
        custom_translation_table=TABLE | PADDED,
    )
    assert exported is not None
    return exported


def _example(spec: ModelSpec) -> tuple[Any, ...]:
    packed = tuple(torch.zeros(sum(EXAMPLE), *i.shape, dtype=DTYPES[i.dtype]) for i in spec.inputs)
    counts = tuple(torch.zeros(len(EXAMPLE), dtype=torch.int64) for _ in spec.counts)
    states = counts + tuple(torch.zeros(len(EXAMPLE), *s.shape, dtype=DTYPES[s.dtype]) for s in spec.states)
    return packed, torch.tensor(EXAMPLE), *([states] if states else ())


def _axes(spec: ModelSpec) -> tuple[Any, ...]:
    """Which axes are symbolic, in the structure of `_example`."""
    tokens, rows = Dim(TOKENS), Dim(ROWS)
    packed, states = tuple({0: tokens} for _ in spec.inputs), tuple({0: rows} for _ in (*spec.counts, *spec.states))
    return packed, {0: rows}, *([states] if states else ())


@contextmanager
def _told(spec: ModelSpec) -> Iterator[None]:
    """Tracer and exporter raise errors of many kinds; here they are all about the model."""
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split("\n\n")[0].split())  # what follows is advice on the tracer's own options
        raise ConfigurationError(f"{spec.name} cannot be traced ({type(error).__name__}): {words}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter warns of its own insides, about which nobody who exports a model can do anything."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        warnings.filterwarnings("ignore", r"# The axis name: \w+ will not be used, since it shares", UserWarning)
        registry.addFilter(_is_not_about_torchvision)
        try:
            yield
        finally:
            registry.removeFilter(_is_not_about_torchvision)


def _is_not_about_torchvision(record: logging.LogRecord) -> bool:
    return "torchvision is not installed" not in record.getMessage()


def tidied(exported: torch.onnx.ONNXProgram) -> onnx.ModelProto:
    """One node where several compute the same; without the exporter's notes, which hold paths of the machine."""
    optimize_ir(exported.model, input_size_limit=LARGEST, output_size_limit=LARGEST)
    CommonSubexpressionEliminationPass()(exported.model)
    ClearMetadataAndDocStringPass()(exported.model)
    proto: onnx.ModelProto = exported.model_proto
    return proto
