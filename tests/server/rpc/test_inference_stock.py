"""A stock client against real lanes: answers in order for each sequence, and errors as stock servers give them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.protos import inference_pb2 as pb
from headrace.server.alone import Alone
from headrace.server.gate import Gate
from headrace.server.journal import NoJournal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.metrics import LaneMeter
from headrace.server.models import Model, Models
from headrace.server.rpc.inference import InferenceService
from headrace.spec import ModelSpec

from ..fakes import STATELESS_SUM, SUM, SumEngine
from ..listening import listening
from .fields import fields

CLIENT, ROOT = "tests.server.rpc.stock_client", Path(__file__).parents[3]
STEPS, TIME = 20, 3  # as in the client


@pytest.fixture(scope="module")
def heard() -> Any:
    """What the client was answered."""
    return asyncio.run(asyncio.wait_for(talk(), 60))


async def talk() -> Any:
    models = Models([running(SUM), running(STATELESS_SUM)])
    try:
        async with listening(InferenceService(models, time.monotonic).handler()) as port:
            client = await asyncio.create_subprocess_exec(
                sys.executable, "-m", CLIENT, str(port), stdout=asyncio.subprocess.PIPE, cwd=ROOT
            )
            printed, _ = await client.communicate()
            assert client.returncode == 0
            return json.loads(printed)
    finally:
        models.stop()


def running(spec: ModelSpec) -> Model:
    """A model with one lane on its own thread."""
    loop, model = asyncio.get_running_loop(), Model(spec, "1", "CPU", Gate(1000, "for this model"), Alone())
    limits = Limits(rows=4, tokens=64, sequences=8, idle=60.0)
    lane = Lane(
        spec,
        "1",
        SumEngine(limits.slots),
        NoJournal(),
        LaneMeter((spec.name, "1", "0")),
        limits,
        lambda answers: loop.call_soon_threadsafe(model.deliver, answers) and None,
        time.monotonic,
    )
    model.lanes = (lane,)
    lane.start()
    return model


def test_it_finds_the_server_and_its_models(heard: Any) -> None:
    assert heard["live"] == [True, True, True]
    assert heard["about"] == ["headrace", "x"]


@pytest.mark.parametrize(("kind", "sequence"), [("int", 0), ("str", 1)])
def test_interleaved_sequences_keep_their_order_and_their_state(heard: Any, kind: str, sequence: int) -> None:
    sums = np.cumsum([TIME * (100 * sequence + number) for number in range(STEPS)])
    assert heard["interleaved"][kind] == [[number, total] for number, total in enumerate(sums.tolist())]


def test_a_stream_outlives_an_error(heard: Any) -> None:
    without_start, with_start = heard["survives"]
    assert "sequence_start" in without_start
    assert with_start == ""


def test_mistakes_get_the_status_that_stock_servers_give(heard: Any) -> None:
    missing = {"model": "NOT_FOUND", "version": "NOT_FOUND"}
    assert heard["errors"] == {what: missing.get(what, "INVALID_ARGUMENT") for what in heard["errors"]}
    assert len(heard["errors"]) == 9


def test_start_without_end_begins_anew(heard: Any) -> None:
    assert heard["unary"] == [3, 6, 3, 6]


def test_padded_rows_of_a_stateless_model(heard: Any) -> None:
    assert heard["padded"] == [[[1, 2, 3], [2, 0, 0]], [3, 2]]


def test_every_field_is_the_public_protocols(heard: Any) -> None:
    ours = fields(pb.DESCRIPTOR.message_types_by_name.values())
    assert ours.items() <= {name: tuple(field) for name, field in heard["fields"].items()}.items()
