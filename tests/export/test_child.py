"""A process of its own loads a graph, and its end is told."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import pytest

from headrace.errors import ConfigurationError
from headrace.export.child import refuse_unloadable

from .conftest import Traced


def test_what_loads_is_let_through(traced: Mapping[str, Traced]) -> None:
    refuse_unloadable(traced["tiny-gru"].graph, "tiny-gru")


def test_what_does_not_load_is_refused_with_the_reason(traced: Mapping[str, Traced]) -> None:
    wrong = onnx.ModelProto()
    wrong.CopyFrom(traced["tiny-gru"].graph)
    wrong.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ConfigurationError, match=r"broken cannot be loaded by ONNX Runtime \(.*NoSuchOperator"):
        refuse_unloadable(wrong, "broken")


def test_it_is_not_waited_for_for_ever(traced: Mapping[str, Traced]) -> None:
    with pytest.raises(ConfigurationError, match="is not loaded by ONNX Runtime within 0 s"):
        refuse_unloadable(traced["tiny-gru"].graph, "slow", patience=0.0)
