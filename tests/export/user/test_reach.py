"""What is promised of the longest step is tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console
from torch import nn

from headrace.contract import read_model
from headrace.errors import ConfigurationError
from headrace.export import export_module
from headrace.export.user.example import read
from headrace.export.user.module import Alone
from headrace.export.user.plan import Wishes, plan
from headrace.export.user.reach import refuse_longest
from headrace.export.user.trace import to_onnx
from headrace.export.user.values import drawing

from . import zoo

FLOATS = torch.zeros(2, 6, 4)


def test_a_table_of_positions_bounds_the_longest_step(tmp_path: Path, console: Console) -> None:
    module = zoo.Tagger()
    module.place = nn.Embedding(64, 8)
    with pytest.raises(
        ConfigurationError, match=r"works for 64 time steps, not for the 512 .*: give longest=64 .*index"
    ):
        export_module(module, FLOATS, tmp_path, "tagger", quick=True, console=console)
    path = export_module(module, FLOATS, tmp_path, "tagger", quick=True, longest=64, console=console)
    assert read_model(path)[1].chunk.longest == 64


def test_a_graph_that_is_wrong_for_long_sequences_alone_is_refused() -> None:
    module = zoo.Tagger(causal=True).eval()
    call, tensors = read(module, FLOATS, False)
    found = plan(module, call, tensors, Wishes("tagger", longest=60))
    graph = to_onnx(module, found).graph
    model, draw = Alone(module, found), drawing(tensors, found.spec.inputs)
    refuse_longest(model, graph, found.spec, draw)
    told = r"right for short sequences, but differs .* time step 5[0-9] of lengths \[60\]"
    with pytest.raises(ConfigurationError, match=told):
        refuse_longest(model, _other_positions(graph, 50), found.spec, draw)


def _other_positions(graph: onnx.ModelProto, first: int) -> onnx.ModelProto:
    """A copy whose table of positions is another from `first` on."""
    wrong = onnx.ModelProto()
    wrong.CopyFrom(graph)
    (table,) = (tensor for tensor in wrong.graph.initializer if list(tensor.dims) == [512, 8])
    values = numpy_helper.to_array(table).copy()
    values[first:] += 1 + np.arange(8, dtype=np.float32)
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    return wrong
