"""The check with noise in the padding finds what it alters, or says that it does not."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import helper

from headrace.errors import ConfigurationError
from headrace.export.user.example import read
from headrace.export.user.noise import with_noise
from headrace.export.user.plan import Wishes, plan
from headrace.export.user.trace import to_onnx
from headrace.spec import ModelSpec

from . import zoo


@pytest.fixture(scope="module")
def traced() -> tuple[onnx.ModelProto, ModelSpec]:
    module = zoo.Tagger().eval()
    call, tensors = read(module, torch.zeros(2, 6, 4), False)
    found = plan(module, call, tensors, Wishes("tagger", longest=64))
    return to_onnx(module, found).graph, found.spec


def test_the_padding_is_altered(traced: tuple[onnx.ModelProto, ModelSpec]) -> None:
    assert with_noise(*traced).SerializeToString() != traced[0].SerializeToString()


def test_padding_that_is_not_found_is_no_proof(traced: tuple[onnx.ModelProto, ModelSpec]) -> None:
    graph, hidden = traced[0], onnx.ModelProto()
    hidden.CopyFrom(graph)
    for node in hidden.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = "behind" if name == "x" else name
    hidden.graph.node.insert(0, helper.make_node("Identity", ["x"], ["behind"]))
    with pytest.raises(ConfigurationError, match="the padding of x is not found"):
        with_noise(hidden, traced[1])
