"""The bound at the door."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from headrace.errors import InvalidInput, Overloaded
from headrace.server.commands import Barrier, Cancel, Close, Fork, Generate, Leave, Mode, Open, Prompt, Sampling, Step
from headrace.server.gate import Gate, weight

from .fakes import Heard, named_row, steps


def test_every_command_has_its_weight() -> None:
    sink = Heard()
    three = np.arange(3)
    one = steps(sink, [(1, 0, [1, 2, 3])])
    commands = [
        Step(steps(sink, [(1, 0, [1]), (2, 0, [1])])),
        named_row(one, "a", start=True),
        Open(sink, 1, ("", "a"), Mode.FRESH, 1),
        Cancel(sink, three.astype(np.uint32), three),
        Close(sink, (1, 2, 3)),
        Fork(sink, ("", "a"), (1, 2), (("", "a~1"), ("", "a~2")), 1),
        Generate(sink, (Prompt(three),) * 2, 4, Sampling(), 5, (), 0.0, 0.0),
        Leave(sink),
        Barrier(list),
    ]
    assert [weight(command) for command in commands] == [2, 1, 1, 3, 3, 2, 8, 0, 0]


def test_what_does_not_fit_is_refused_without_effect() -> None:
    gate = Gate(3, "here")
    gate.enter(2)
    with pytest.raises(Overloaded, match="2 steps are queued here, at most 3") as refused:
        gate.enter(2)
    assert refused.value.retry_after is not None
    with pytest.raises(InvalidInput, match="at most 3 rows"):
        gate.enter(4)
    gate.enter(1)
    assert gate.inside == 3


def test_room_and_emptiness_are_told() -> None:
    async def test() -> None:
        gate = Gate(3, "here")
        gate.enter(3)
        await gate.room()  # full, and no more than that
        gate.pass_through(2)
        room, empty = asyncio.ensure_future(gate.room()), asyncio.ensure_future(gate.empty())
        gate.leave(1)
        await asyncio.sleep(0)
        assert not room.done()
        gate.leave(1)
        await room
        assert not empty.done()
        gate.leave(3)
        await empty

    asyncio.run(asyncio.wait_for(test(), 10))
