"""Requests that come together reach their lane as one command, and each caller hears of its own rows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import inf

import numpy as np
import pytest

from headrace.errors import HeadraceError, ModelFailed, Overloaded
from headrace.protos import inference_pb2 as pb
from headrace.server.commands import Command, Leave, NamedSteps, Step
from headrace.server.models import Model, Models
from headrace.server.rpc.inference_gather import MOST_TURNS, Gatherer, cut
from headrace.server.rpc.inference_request import understand
from headrace.server.steps import NEVER_AGAIN, NEXT, Steps, failures
from headrace.spec import Output

from ..fakes import STATELESS_SUM, SUM
from .oip import ScriptedLane, add_input, echo, request, served

X = np.arange(6, dtype=np.float32).reshape(3, 2)


@dataclass
class Told:
    """A caller that remembers."""

    rows: dict[int, np.ndarray] = field(default_factory=dict)
    errors: list[HeadraceError] = field(default_factory=list)

    def answered(self, key: int, cells: tuple[bytes, ...]) -> None:
        self.rows[key] = np.frombuffer(cells[0], np.float32).reshape(-1, 2)

    def failed(self, error: HeadraceError) -> None:
        self.errors.append(error)


@dataclass
class Counter:
    """Where requests come in, at time 100."""

    models: Models
    gatherer: Gatherer = field(default_factory=Gatherer)

    def put(self, message: pb.ModelInferRequest, deadline: float = inf) -> Told:
        told = Told()
        self.gatherer.put(told, understand(self.models, message), 100.0, deadline)
        return told


async def turns(count: int = MOST_TURNS + 1) -> None:
    """Of the event loop; after so many at most everything is posted."""
    for _ in range(count):
        await asyncio.sleep(0)


def gathered(*messages: pb.ModelInferRequest, deadline: float = inf) -> Command:
    """The one command that they become."""

    async def test() -> None:
        counter = Counter(Models([served(SUM, lane), served(STATELESS_SUM, lane)]))
        for message in messages:
            counter.put(message, deadline)
        assert lane.posted == []
        await turns()

    lane = ScriptedLane()
    asyncio.run(test())
    (command,) = lane.posted
    return command


def steps_of(command: Command) -> Steps:
    assert isinstance(command, Step | NamedSteps)
    return command.steps


def test_named_rows_of_one_turn_are_one_command() -> None:
    first = request("sum", X, sequence_id="a", sequence_start=True, headrace_tenant="t")
    command = gathered(first, request("sum", X[:1], sequence_id=7, sequence_end=True))
    assert isinstance(command, NamedSteps)
    assert command.names == (("t", "a"), ("", "#7"))
    assert (command.starts.tolist(), command.ends.tolist()) == ([True, False], [False, True])
    assert (command.steps.keys.tolist(), command.steps.lengths.tolist()) == ([0, 1], [3, 1])
    np.testing.assert_array_equal(command.steps.values[0], np.concatenate([X, X[:1]]))
    assert command.steps.arrived == 100.0


def test_rows_wait_for_more_as_long_as_more_come_and_not_for_ever() -> None:
    async def test() -> None:
        counter = Counter(Models([served(SUM, lane := ScriptedLane())]))
        for number in range(1, MOST_TURNS + 3):
            counter.put(request("sum", X, sequence_id=number))
            await turns(1)
        await turns()
        assert [command.steps.keys.tolist() for command in lane.posted if isinstance(command, NamedSteps)] == [
            list(range(MOST_TURNS + 1)),
            [0],
        ]

    asyncio.run(test())


def test_a_row_without_position_is_never_sent_again_and_one_with_it_acknowledges_what_is_before() -> None:
    plain, placed = request("sum", X, sequence_id=1), request("sum", X, sequence_id=2, headrace_position=5)
    steps = steps_of(gathered(plain, placed))
    assert steps.positions.tolist() == [NEXT, 5]
    assert steps.acked.tolist() == [NEVER_AGAIN, 5]


def test_the_nearer_deadline_counts() -> None:
    timed, none = (request("sum", X, sequence_id=1, timeout=timeout) for timeout in (250_000, 0))
    assert steps_of(gathered(timed, none)).deadlines.tolist() == [100.25, inf]
    assert steps_of(gathered(timed, none, deadline=100.1)).deadlines.tolist() == [100.1, 100.1]


def test_rows_without_state_have_no_names() -> None:
    message = request("stateless-sum", X, sequence_id=9)
    add_input(message, "lengths", np.array([1, 2]))
    command = gathered(message, request("stateless-sum", X))
    assert isinstance(command, Step)
    assert (command.steps.keys.tolist(), command.steps.lengths.tolist()) == ([0, 1, 2], [1, 2, 3])


def over(lane: ScriptedLane, *, queued: int = 1000) -> tuple[Model, Counter]:
    model = served(STATELESS_SUM, lane, queued=queued)
    return model, Counter(Models([model]))


def test_each_caller_hears_of_its_own_rows() -> None:
    async def test() -> None:
        model, counter = over(lane := ScriptedLane())
        one, two = counter.put(request("stateless-sum", X[None])), counter.put(request("stateless-sum", X[:2, None]))
        await turns()
        (steps,) = lane.steps
        good, bad = steps.take(np.array([2, 0])), steps.take(np.array([1]))  # in any order
        model.deliver(echo(good))
        model.deliver(failures(bad, ModelFailed("scripted")))
        np.testing.assert_array_equal(one.rows[0], X)
        np.testing.assert_array_equal(two.rows[2], X[1:2])
        assert (len(one.errors), [str(error) for error in two.errors]) == (0, ["scripted"])

    asyncio.run(test())


def test_what_finds_no_room_is_refused_alone_and_at_once() -> None:
    async def test() -> None:
        _, counter = over(lane := ScriptedLane(), queued=2)
        counter.put(request("stateless-sum", X))
        with pytest.raises(Overloaded):
            counter.put(request("stateless-sum", X[:2, None]))
        counter.put(request("stateless-sum", X))
        await turns()
        assert [len(steps) for steps in lane.steps] == [2]

    asyncio.run(test())


def test_who_leaves_before_the_turn_ends_is_posted_and_leaves_alone() -> None:
    async def test() -> None:
        _, counter = over(lane := ScriptedLane())
        counter.put(request("stateless-sum", X))
        ask = understand(counter.models, request("stateless-sum", X))
        gathering, first = counter.gatherer.put(Told(), ask, 100.0, inf)
        gathering.leave(range(first, first + 1))
        await turns()
        assert [type(command) for command in lane.posted] == [Step, Leave]
        assert lane.left == [(gathering, 1)]

    asyncio.run(test())


def test_rows_that_come_after_somebody_left_in_the_same_turn_are_posted_too() -> None:
    async def test() -> None:
        model, counter = over(lane := ScriptedLane(echo))
        ask = understand(counter.models, request("stateless-sum", X))
        gathering, first = counter.gatherer.put(Told(), ask, 100.0, inf)
        gathering.leave(range(first, first + 1))
        later = counter.put(request("stateless-sum", X))
        await turns()
        assert [len(steps) for steps in lane.steps] == [1, 1]
        await model.answered()
        np.testing.assert_array_equal(later.rows[0], X)

    asyncio.run(asyncio.wait_for(test(), 10))


def test_rows_that_could_not_be_posted_are_not_counted_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ScriptedLane):
        def post(self, command: Command) -> None:
            raise ZeroDivisionError("scripted")

    async def test() -> None:
        model, counter = over(Broken())
        told = counter.put(request("stateless-sum", X[:2, None]))
        await turns()
        assert ["ZeroDivisionError" in str(error) for error in told.errors] == [True, True]
        await model.answered()

    asyncio.run(asyncio.wait_for(test(), 10))
    assert "requests failed" in caplog.text


@pytest.mark.parametrize(("time", "sizes"), [(True, [3, 1, 2]), (False, [1, 1, 1])])
def test_outputs_are_cut_by_rows(time: bool, sizes: list[int]) -> None:
    output = Output(name="y", dtype="float32", shape=(2,), time=time)
    cells = np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    rows = cut(cells, output, np.array([3, 1, 2]))
    assert [len(row) for row in rows] == [8 * size for size in sizes]
    assert b"".join(rows) == cells.tobytes()
