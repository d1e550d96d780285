"""The stock client as a load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace.bench.load import closed_loop
from headrace.bench.peers.kept import END, START
from headrace.bench.peers.own import STREAMED
from headrace.bench.peers.wire import SHARED, by_parameters, by_tensors, clients
from headrace.contract import read_model
from headrace.protos import inference_pb2 as pb
from headrace.spec import ModelSpec

from ..echoes import echo, run


@pytest.fixture
def spec(models: Path) -> ModelSpec:
    """Whose answers are as wide as the echo's."""
    return read_model(models / "tiny-lstm" / "1" / "model.onnx")[1]


def test_a_sequence_in_parameters(spec: ModelSpec) -> None:
    first, last = (pb.ModelInferRequest.FromString(by_parameters(spec, 7, flags)) for flags in (START, END))
    assert {name: p.bool_param for name, p in first.parameters.items() if name != "sequence_id"} == {
        "sequence_start": True,
        "sequence_end": False,
    }
    assert (last.parameters["sequence_start"].bool_param, last.parameters["sequence_end"].bool_param) == (False, True)
    assert first.parameters["sequence_id"].int64_param == 7
    assert (first.inputs[0].name, list(first.inputs[0].shape), len(first.raw_input_contents[0])) == (
        "values",
        [1, 3],
        12,
    )


def test_a_sequence_in_tensors(spec: ModelSpec) -> None:
    request = pb.ModelInferRequest.FromString(by_tensors(spec, 7, START | END))
    assert [i.name for i in request.inputs] == ["values", "sequence", "flags"]
    assert [np.frombuffer(raw, np.int64).tolist() for raw in request.raw_input_contents[1:]] == [[7], [3]]
    assert not request.parameters


def test_clients_step_and_every_one_is_counted(spec: ModelSpec) -> None:
    async def work() -> tuple[int, int]:
        async with echo() as address, clients(address, spec, SHARED + 1, STREAMED, by_parameters) as made:
            load = await closed_loop(made, 0.05)
            return load.steps, len(load.latencies)

    steps, latencies = run(work())
    assert steps == latencies >= SHARED + 1


def test_an_answer_of_another_size_is_no_answer(spec: ModelSpec) -> None:
    wider = spec.model_copy(update={"outputs": (spec.outputs[0].model_copy(update={"shape": (9,)}),)})

    async def work() -> None:
        async with echo() as address, clients(address, wider, 1, STREAMED, by_parameters):
            raise AssertionError("it was taken for an answer")

    with pytest.raises(RuntimeError, match="an answer of 12 bytes"):
        run(work())
