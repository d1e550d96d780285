"""Steps that take several ticks, driven tick by tick: still one step each, whatever comes in between."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from headrace.errors import Cancelled, HeadraceError, ModelFailed, TakenOver, Unavailable, WrongPosition
from headrace.server.commands import Cancel, Close, Command, Leave, Mode, Open, Step
from headrace.server.journal import Journal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, Closed, Failed, Opened, Stepped
from headrace.spec import Chunk, ModelSpec

from .fakes import CUT_SUM, STATELESS_SUM, SUM, Clock, FlakyJournal, Heard, SumEngine, admit, named_row, steps, sum_lane

LIMITS = Limits(rows=3, tokens=64, sequences=8, idle=60.0, part=2, few=0)
LONG = [1.0, 1, 1, 1, 1]  # three ticks


@dataclass
class Bench:
    """A lane whose model refuses the value 13, two clients and their sequences 1 to 4."""

    journal: Journal = field(default_factory=FlakyJournal)
    clock: Clock = field(default_factory=Clock)
    one: Heard = field(default_factory=Heard)
    two: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        self.engine = SumEngine(LIMITS.slots, refuse=lambda row: bool((row == 13).any()))
        self.lane: Lane = sum_lane(self.clock, spec=CUT_SUM, engine=self.engine, journal=self.journal, limits=LIMITS)
        for key in (1, 2):
            self.post(opening(self.one, key), opening(self.two, key + 2))
        self.one.take()
        self.two.take()

    def post(self, *commands: Command) -> None:
        admit(self.lane, *commands)

    def send(self, sink: Heard, *rows: tuple[int, int, list[float]], deadline: float = np.inf) -> None:
        self.post(Step(steps(sink, rows, acked=[0] * len(rows), deadline=deadline)))

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.lane.tick()

    def finish(self) -> None:
        while self.lane.state.busy:
            self.lane.tick()

    def lengths(self) -> list[list[int]]:
        return [batch.lengths.tolist() for batch in self.engine.batches]

    def free(self) -> int:
        return len(self.lane.state.slots)


def opening(sink: Heard, key: int, mode: Mode = Mode.FRESH, incarnation: int = 7) -> Open:
    return Open(sink, key, ("", f"s{key}"), mode, incarnation)


def sums(sink: Heard) -> list[list[float]]:
    """Of each answer the outputs, which must be there."""
    answers = sink.take()
    assert all(isinstance(a, Stepped) for a in answers), answers
    return [a.outputs[0][:, 0].tolist() for a in answers if isinstance(a, Stepped)]


def errors(sink: Heard) -> list[type[HeadraceError]]:
    return [type(a.error) for a in sink.take() if isinstance(a, Failed)]


def test_a_long_step_runs_in_parts_and_is_answered_once_and_whole() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, [1, 2, 3, 4, 5]))
    bench.tick(2)
    assert not bench.one.take() and bench.lane.state.sequences.position.sum() == 0
    bench.tick()
    assert bench.lengths() == [[2], [2], [1]]
    (answer,) = bench.one.take()
    assert isinstance(answer, Stepped) and answer.lengths.tolist() == [5]
    assert answer.outputs[0][:, 0].tolist() == [1, 3, 6, 10, 15] and answer.outputs[1][:, 0].tolist() == [15]
    bench.send(bench.one, (1, 0, [1, 2, 3, 4, 5]), (1, 5, [1]))
    bench.finish()
    assert sums(bench.one) == [[1, 3, 6, 10, 15], [16]]  # answered again from memory, then gone on


def test_the_rows_of_others_wait_for_one_tick_at_most() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, [1.0] * 9), (2, 0, [5]))
    bench.tick()
    bench.send(bench.two, (3, 0, [7]))
    bench.tick()
    assert sums(bench.two) == [[7]]
    bench.finish()
    assert sums(bench.one) == [[5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]


def test_places_that_become_free_are_taken_at_once() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, LONG), (2, 0, [1.0] * 3))
    bench.send(bench.two, (3, 0, LONG), (4, 0, LONG))
    bench.finish()
    assert [len(rows) for rows in bench.lengths()] == [3, 3, 3, 1, 1]
    assert sorted(bench.lengths()[2]) == [1, 1, 2]


def test_few_rows_have_longer_parts() -> None:
    engine, client = SumEngine(20), Heard()
    lane = sum_lane(Clock(), spec=CUT_SUM, engine=engine, limits=replace(LIMITS, few=8))
    admit(lane, opening(client, 1), opening(client, 2), Step(steps(client, [(1, 0, [1.0] * 12)])))
    lane.tick()
    admit(lane, Step(steps(client, [(2, 0, [1])])))
    lane.tick()
    assert [batch.lengths.tolist() for batch in engine.batches] == [[8], [1, 4]]
    assert [len(a.keys) for a in client.take() if isinstance(a, Stepped)] == [1, 1] and not lane.state.busy


def test_rows_under_way_run_in_order_of_their_parts_so_that_batches_recur() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, [1.0] * 3), (2, 0, LONG))
    bench.send(bench.two, (3, 0, [1.0] * 4))
    bench.tick(2)
    assert bench.lengths()[1] == [2, 2, 1]
    bench.finish()
    assert {len(row) for row in sums(bench.one)} == {3, 5} and sums(bench.two) == [[1, 2, 3, 4]]


def test_a_part_that_fails_fails_the_whole_step_and_nobody_else() -> None:
    bench = Bench()
    free = bench.free()
    bench.send(bench.one, (1, 0, [1, 1, 1, 13]), (1, 4, [1]), (2, 0, LONG))
    bench.finish()
    first, behind, other = bench.one.take()
    assert isinstance(first, Failed) and isinstance(first.error, ModelFailed) and first.position == 0
    assert isinstance(behind, Failed) and isinstance(behind.error, WrongPosition)
    assert behind.error.expected_position == 0
    assert isinstance(other, Stepped) and bench.free() == free - 1
    bench.send(bench.one, (1, 0, [4]))
    bench.finish()
    assert sums(bench.one) == [[4]]


def test_a_state_that_is_not_finite_half_way_fails_the_whole_step() -> None:
    bench = Bench()
    huge, free = float(np.finfo(np.float32).max), bench.free()
    with np.errstate(over="ignore", invalid="ignore"):
        bench.send(bench.one, (1, 0, [huge, huge, -huge, -huge, 1]))
        bench.finish()
    assert errors(bench.one) == [ModelFailed] and bench.free() == free and len(bench.engine.batches) == 1


def test_one_record_holds_the_whole_step_and_without_it_nothing_is_applied() -> None:
    journal = FlakyJournal(failures=1)
    bench = Bench(journal)
    free = bench.free()
    bench.send(bench.one, (1, 0, LONG))
    bench.send(bench.two, (3, 0, [1.0] * 7))
    bench.tick(3)
    assert errors(bench.one) == [Unavailable] and bench.free() == free - 1  # that of the row still under way
    bench.finish()
    assert sums(bench.two) == [[1, 2, 3, 4, 5, 6, 7]]
    (record,) = journal.records
    assert (record.names, record.positions.tolist(), record.lengths.tolist()) == ((("", "s3"),), [0], [7])
    assert record.values[0][:, 0].tolist() == [1.0] * 7
    bench.send(bench.one, (1, 0, LONG))
    bench.finish()
    assert sums(bench.one) == [[1, 2, 3, 4, 5]]


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.REPLACE])
def test_who_takes_a_sequence_over_waits_for_the_step_under_way(mode: Mode) -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, LONG), (1, 5, [1]), (1, 6, LONG))
    bench.tick()
    bench.post(opening(bench.two, 1, mode, 8))
    stepped, *lost = bench.one.take()
    assert isinstance(stepped, Stepped) and stepped.outputs[0][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert [(a.position, type(a.error)) for a in lost if isinstance(a, Failed)] == [
        (5, TakenOver),
        (6, TakenOver),
        (None, TakenOver),
    ]
    (opened,) = bench.two.take()
    position = 5 if mode is Mode.RESUME else 0
    assert isinstance(opened, Opened) and opened.position == position
    assert not bench.lane.state.busy
    bench.send(bench.two, (1, position, [1]))
    bench.finish()
    assert sums(bench.two) == [[position + 1]]


def test_rows_of_others_go_on_while_an_open_waits() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, LONG))
    bench.tick()
    bench.lane.post(Step(steps(bench.two, [(3, 0, [1])])))
    bench.post(opening(bench.one, 1, Mode.REJOIN))
    stepped, opened = bench.one.take()
    assert isinstance(stepped, Stepped) and isinstance(opened, Opened) and opened.position == 5
    assert sums(bench.two) == [[1]]


def test_a_close_waits_for_the_step_under_way() -> None:
    bench = Bench()
    free = bench.free()
    bench.send(bench.one, (1, 0, LONG))
    bench.tick()
    bench.post(Close(bench.one, (1,)))
    assert not bench.one.take()
    bench.finish()
    assert [type(a) for a in bench.one.take()] == [Stepped, Closed] and bench.free() == free


def test_a_cancel_frees_the_row_of_a_step_under_way() -> None:
    bench, free = Bench(), LIMITS.slots
    bench.send(bench.one, (1, 0, LONG), (1, 5, [1]), (2, 0, LONG))
    bench.tick()
    bench.post(Cancel(bench.one, np.array([1, 1], np.uint32), np.array([0, 5])))
    assert errors(bench.one) == [Cancelled, WrongPosition] and bench.free() == free - 1
    bench.send(bench.one, (1, 0, [4, 3]))
    bench.finish()
    assert sums(bench.one) == [[4, 7], [1, 2, 3, 4, 5]]


def test_a_cancel_before_the_first_part_or_of_another_position_takes_nothing_along() -> None:
    bench, free = Bench(), LIMITS.slots
    bench.send(bench.one, (1, 0, LONG), (2, 0, LONG))
    bench.lane.state.underway.enter(bench.lane.state.scheduler.next(0.0).run)  # taken, and not one part has run
    bench.post(Cancel(bench.one, np.array([1, 2], np.uint32), np.array([0, 3])))
    assert errors(bench.one) == [Cancelled] and bench.free() == free
    bench.finish()
    assert sums(bench.one) == [[1, 2, 3, 4, 5]]


def test_a_deadline_counts_until_the_first_part() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, LONG), deadline=bench.clock.now + 1)
    bench.tick()
    bench.clock.now += 2
    bench.finish()
    assert sums(bench.one) == [[1, 2, 3, 4, 5]]


def test_a_step_under_way_is_applied_though_its_caller_is_gone() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, LONG), (1, 5, LONG))
    bench.tick()
    bench.post(Leave(bench.one))
    bench.post(opening(bench.two, 1, Mode.RESUME, 8))
    (opened,) = bench.two.take()
    assert isinstance(opened, Opened) and opened.position == 5


def test_a_sequence_begun_anew_by_name_does_not_wait_for_the_old_one() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, LONG))
    bench.tick()
    bench.post(named_row(steps(bench.two, [(9, 0, [8])]), "s1", start=True))
    bench.tick()
    assert sums(bench.two) == [[8]]
    bench.finish()
    assert [type(a) for a in bench.one.take()] == [Stepped, Closed]


def test_expiry_leaves_alone_what_is_under_way() -> None:
    bench = Bench()
    bench.send(bench.one, (1, 0, LONG))
    bench.tick()
    bench.clock.now += 1000
    bench.lane.admit(wait=False)
    bench.finish()
    assert any(isinstance(a, Stepped) for a in bench.one.take())


def test_rows_under_way_fail_with_a_tick_that_cannot_be_run() -> None:
    bench = Bench()
    free = bench.free()
    bench.send(bench.one, (1, 0, LONG))
    bench.tick()
    broken = steps(bench.two, [(3, 0, [1])])
    object.__setattr__(broken, "values", (np.zeros((1, 7), np.float32),))
    bench.post(Step(broken))
    bench.tick()
    assert (errors(bench.one), errors(bench.two)) == ([ModelFailed], [ModelFailed])
    assert bench.free() == free and not bench.lane.state.busy


def test_a_step_whose_outputs_find_no_memory_fails_and_the_lane_goes_on() -> None:
    vast = CUT_SUM.outputs[0].model_copy(update={"shape": (1 << 50,)})
    spec = CUT_SUM.model_copy(update={"outputs": (vast, CUT_SUM.outputs[1])})
    lane, client = sum_lane(Clock(), spec=spec, limits=LIMITS), Heard()
    free = len(lane.state.slots)
    admit(lane, opening(client, 1), Step(steps(client, [(1, 0, LONG)], acked=[NEVER_AGAIN])))
    lane.tick()
    assert errors(client) == [ModelFailed]
    assert len(lane.state.slots) == free and not lane.state.busy


@pytest.mark.parametrize(
    "spec",
    [
        SUM,
        STATELESS_SUM.model_copy(update={"parity": CUT_SUM.parity}),
        CUT_SUM.model_copy(update={"chunk": Chunk(longest=5, exactly=5)}),
        CUT_SUM.model_copy(update={"chunk": Chunk(longest=16, equal_lengths=True)}),
    ],
    ids=["unproven", "stateless", "exactly", "equal lengths"],
)
def test_what_may_not_be_cut_runs_whole(spec: ModelSpec) -> None:
    engine, client = SumEngine(LIMITS.slots), Heard()
    lane = sum_lane(Clock(), spec=spec, engine=engine, limits=LIMITS)
    admit(lane, Open(client, 1, ("", "a"), Mode.FRESH, 7), Step(steps(client, [(1, 0, LONG)])))
    lane.tick()
    assert [batch.lengths.tolist() for batch in engine.batches] == [[5]] and not lane.state.busy
