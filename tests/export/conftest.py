"""Graphs that many tests look at, traced once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import pytest
from rich.console import Console

from headrace.export.trace import to_onnx
from headrace.spec import ModelSpec
from headrace.training.models import SequenceModel

from ..models import untrained


@dataclass(frozen=True, slots=True)
class Traced:
    """A tiny model, its spec and its graph."""

    model: SequenceModel
    spec: ModelSpec
    graph: onnx.ModelProto


@pytest.fixture(scope="session")
def traced() -> Mapping[str, Traced]:
    """By name: tiny-gru, tiny-lstm, tiny-encoder, tiny-lm."""
    found = {}
    for name, model in untrained().items():
        spec = model.describe(name)
        found[name] = Traced(model, spec, to_onnx(model, spec))
    return found


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)
