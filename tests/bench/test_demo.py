"""What the demo shows it also checks: whatever is not as it should be fails it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from math import nan

import numpy as np
import pytest

from headrace.bench.demo import CUTS, TASKS, Line, problems
from headrace.bench.load import Load
from headrace.bench.proxy import proxy
from headrace.client import ServedModel
from headrace.spec import Parity, Score

from ..server.fakes import STATELESS_SUM, SUM

SCORE = Score(metric="accuracy", value=0.9, better="higher", data="vowels")


def line(task: str) -> Line:
    """A line as it should be."""
    stateful = not task.endswith("encoder")
    told = {"name": task, "scores": (SCORE,), "parity": Parity(error=1e-6, cases=3)}
    spec = (SUM if stateful else STATELESS_SUM).model_copy(update=told)
    model = ServedModel(task, "1", spec, "CPU")
    served = 0.9 if task.startswith("vowels-") else None
    load = Load(1, 1.0, np.ones(1))
    return Line(model, load, served, CUTS if stateful else 0, True if stateful else None)


LINES = [line(task) for task in TASKS]


def test_a_demo_as_it_should_be_has_no_problems() -> None:
    assert problems(LINES) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"cuts": 0}, f"{CUTS} times the connection was to be cut, 0 times it was"),
        ({"cuts": CUTS - 1}, f"{CUTS - 1} times it was"),
        ({"resumed": False}, "differs"),
        ({"resumed": None}, "differs"),
        ({"served": 0.894}, "is not the score 0.900"),
        ({"served": nan}, "is not the score"),
        ({"served": None}, "is not the score"),
    ],
)
def test_what_is_not_as_it_should_be_is_told(change: dict[str, float | None], word: str) -> None:
    (problem,) = problems([replace(LINES[0], **change), *LINES[1:]])  # type: ignore[arg-type]
    assert problem.startswith(f"{TASKS[0]}: ") and word in problem


def test_a_model_that_is_missing_or_was_not_compared_is_told() -> None:
    assert problems(LINES[1:]) == [f"{TASKS[0]} is not served"]
    unseen = LINES[0].model.spec.model_copy(update={"parity": None})
    (problem,) = problems([replace(LINES[0], model=replace(LINES[0].model, spec=unseen)), *LINES[1:]])
    assert "not compared" in problem


def test_only_connections_that_were_open_count_as_broken() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def test() -> None:
        far = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = far.sockets[0].getsockname()[1]
        async with proxy(f"127.0.0.1:{port}") as (line, address):
            line.cut()
            assert (line.cuts, line.broken) == (1, 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            while not line.broken:
                await asyncio.sleep(0)  # until the proxy has joined both ends
                line.cut()
            assert line.broken == 1
            assert await reader.read() == b""
            writer.close()
        far.close()

    asyncio.run(asyncio.wait_for(test(), 20))
