"""What the parameters of a request mean."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest

from headrace.errors import InvalidInput, UnknownModel
from headrace.protos import inference_pb2 as pb
from headrace.server.models import Models
from headrace.server.rpc.inference_request import Ask, read_options, understand
from headrace.server.steps import NEXT

from ..fakes import STATELESS_SUM, SUM
from .oip import ScriptedLane, request, served

X = np.ones((3, 2), np.float32)


def understood(message: pb.ModelInferRequest) -> Ask:
    return understand(Models([served(SUM, ScriptedLane()), served(STATELESS_SUM, ScriptedLane())]), message)


def test_without_parameters_nothing_is_asked() -> None:
    options = read_options(request("m"))
    assert (options.sequence, options.start, options.end, options.position) == ("", False, False, NEXT)
    assert options.timeout == inf


@pytest.mark.parametrize(
    ("given", "meant"), [(7, "#7"), ("7", "7"), ("#7", "##7"), ("##7", "###7"), (-7, "#-7"), ("ü", "ü")]
)
def test_integers_and_strings_never_meet(given: int | str, meant: str) -> None:
    assert read_options(request("m", sequence_id=given)).sequence == meant


def test_unsigned_ids_are_whole() -> None:
    message = request("m")
    message.parameters["sequence_id"].uint64_param = (1 << 64) - 1
    assert read_options(message).sequence == f"#{(1 << 64) - 1}"


@pytest.mark.parametrize("nothing", [0, ""])
def test_a_stateful_model_needs_a_sequence(nothing: int | str) -> None:
    for message in (request("sum", X), request("sum", X, sequence_id=nothing)):
        with pytest.raises(InvalidInput, match="set the parameter sequence_id"):
            understood(message)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequence_id": True},
        {"sequence_id": 1.5},
        {"sequence_id": "x" * 129},
        {"sequence_id": "ü" * 65},
        {"sequence_start": 1},
        {"sequence_end": "true"},
        {"timeout": "1"},
        {"timeout": -1},
        {"headrace_position": -1},
        {"headrace_position": False},
        {"headrace_tenant": 3},
        {"sequence_start": True, "headrace_position": 4},
    ],
)
def test_a_wrong_parameter_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=list(wrong)[-1]):
        read_options(request("m", **wrong))


def test_other_parameters_are_ignored() -> None:
    assert read_options(request("m", priority=3, who="me")) == read_options(request("m"))


def test_an_unknown_model_or_version_is_told() -> None:
    message = request("sum", X, sequence_id=1)
    message.model_version = "9"
    for wrong in (request("nothing", X), message):
        with pytest.raises(UnknownModel):
            understood(wrong)
