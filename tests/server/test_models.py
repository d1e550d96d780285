"""Which model is meant, which lane a sequence lives in, and who may enter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from headrace.errors import Overloaded, Unavailable, UnknownModel
from headrace.server.alone import BRIEF, Alone, Brief
from headrace.server.commands import Close, Command, Leave, Mode, Open, Step
from headrace.server.device import Device
from headrace.server.gate import Gate
from headrace.server.models import Model, Models
from headrace.server.steps import failures
from headrace.spec import ModelSpec

from .fakes import STATELESS_SUM, SUM, Clock, Heard, steps, sum_lane


@dataclass(eq=False)
class PostedLane:
    """Remembers what is posted."""

    broken: bool = False
    posted: list[Command] = field(default_factory=list)
    lent: list[Command] = field(default_factory=list)
    brief: Brief = field(default_factory=Brief)

    def post(self, command: Command) -> None:
        self.posted.append(command)

    def lend(self, command: Command) -> None:
        self.lent.append(command)


def served(*lanes: PostedLane, version: str = "1", most: int = 4) -> Model:
    model = Model(SUM, version, "CPU", Gate(most, "here"), Alone())
    model.lanes = lanes
    return model


def test_the_newest_version_counts_as_numbers_do() -> None:
    models = Models([served(version=version) for version in ("10", "9", "old")])
    assert [models.find("sum").version, models.find("sum", "9").version] == ["10", "9"]
    for name, version, word in (("none", "", "there are: sum"), ("sum", "7", "there are: old, 9, 10")):
        with pytest.raises(UnknownModel, match=word):
            models.find(name, version)


def test_a_sequence_has_one_lane_and_the_others_take_turns() -> None:
    lanes = [PostedLane() for _ in range(3)]
    model = served(*lanes)
    assert {model.lane(("t", str(n))) for n in range(30)} == set(lanes)
    assert all(model.lane(("t", str(n))) is model.lane(("t", str(n))) for n in range(30))
    assert [model.lane(None) for _ in range(6)] == [model.lane(None) for _ in range(6)]
    assert {model.lane(None) for _ in range(3)} == set(lanes)


def test_all_forks_of_a_sequence_live_in_its_lane() -> None:
    lanes = [PostedLane() for _ in range(5)]
    model = served(*lanes)
    for n in range(20):
        assert len({model.lane(("t", f"{n}{fork}")) for fork in ("", "~", "~1", "~x~2")}) == 1
    assert len({model.lane(("t", f"{n}~")) for n in range(50)}) == 5


def test_a_live_sequence_stays_with_its_version() -> None:
    clock = Clock()
    lanes = [sum_lane(clock) for _ in range(2)]
    old, new = (Model(SUM, version, "CPU", Gate(4, "here"), Alone()) for version in "12")
    for model, lane in zip((old, new), lanes, strict=True):
        model.lanes = (lane,)
    lanes[0].post(Open(Heard(), 1, ("", "a"), Mode.FRESH, 1))
    lanes[0].admit(wait=False)
    models = Models([old, new])
    assert models.find_for("sum", "", ("", "a")) is old
    assert models.find_for("sum", "2", ("", "a")) is new
    assert models.find_for("sum", "", ("", "b")) is new


def test_work_is_bounded_and_what_ends_work_passes() -> None:
    lane, sink = PostedLane(), Heard()
    model = served(lane, most=2)
    two = steps(sink, [(1, 0, [1]), (2, 0, [1])])
    model.submit(lane, Step(two))
    with pytest.raises(Overloaded):
        model.submit(lane, Open(sink, 1, ("", "a"), Mode.FRESH, 1))
    model.submit(lane, Close(sink, (1, 2)))
    model.submit(lane, Leave(sink))
    assert [type(command) for command in lane.posted] == [Step, Close, Leave]


def test_draining_takes_no_work_and_ends_when_all_is_settled() -> None:
    async def test() -> None:
        lane, sink = PostedLane(), Heard()
        model = served(lane)
        models = Models([model])
        one = steps(sink, [(1, 0, [1])])
        model.submit(lane, Step(one))
        model.submit(lane, Close(sink, (1,)))
        assert models.ready
        drained = asyncio.ensure_future(models.drain())
        await asyncio.sleep(0)
        assert not models.ready
        with pytest.raises(Unavailable):
            model.submit(lane, Step(one))
        model.submit(lane, Leave(sink))
        model.deliver(failures(one, Unavailable("scripted")))
        await asyncio.sleep(0)
        assert not drained.done()
        model.handled(1)
        await drained
        assert len(sink.answers) == 1

    asyncio.run(asyncio.wait_for(test(), 10))


def test_a_broken_lane_makes_a_server_unready() -> None:
    sound, broken = served(PostedLane()), served(PostedLane(), PostedLane(broken=True), version="2")
    assert Models([sound]).ready
    assert not Models([sound, broken]).ready


def test_stateless_models_have_no_say_in_versions() -> None:
    model = Model(STATELESS_SUM, "1", "CPU", Gate(1, "here"), Alone())
    assert Models([model]).find_for("stateless-sum", "", ("", "")) is model


@pytest.mark.parametrize(
    ("spec", "device", "seconds", "expected"),
    [
        (SUM, "CPU", BRIEF, True),
        (SUM, "CPU", 2 * BRIEF, False),
        (SUM, "CUDA", BRIEF, False),
        (STATELESS_SUM, "CPU", BRIEF, False),
    ],
)
def test_who_is_alone_lends_his_thread_to_a_quick_lane_with_states(
    spec: ModelSpec, device: Device, seconds: float, expected: bool
) -> None:
    lane, model, client = PostedLane(), Model(spec, "1", device, Gate(4, "here"), Alone()), Heard()
    lane.brief.ran(1, seconds)
    first, later = (Step(steps(client, [(1, position, [1])], now=1.0 + position)) for position in range(2))
    model.submit(lane, first)
    model.deliver(failures(first.steps, Overloaded("scripted", retry_after=1.0)))
    model.submit(lane, later)
    assert (lane.posted, lane.lent) == (([first], [later]) if expected else ([first, later], []))
