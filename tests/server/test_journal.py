"""What a lane gives to its journal: enough to apply each tick again, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headrace.server.commands import Mode, Open, Step
from headrace.server.journal import Record
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEXT, Failed, Stepped

from .fakes import STATELESS_SUM, Clock, FlakyJournal, Heard, SumEngine, named_row, steps, sum_lane

LIMITS = Limits(rows=8, tokens=64, sequences=8)


@dataclass
class Bench:
    """A lane whose model refuses the value 13, and its journal."""

    journal: FlakyJournal = field(default_factory=FlakyJournal)
    client: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        engine = SumEngine(LIMITS.slots, refuse=lambda row: bool((row == 13).any()))
        self.lane = sum_lane(Clock(), engine=engine, journal=self.journal, limits=LIMITS)

    def open(self, *keys: int) -> None:
        for key in keys:
            self.lane.post(Open(self.client, key, ("t", f"s{key}"), Mode.FRESH, 1))

    def send(self, *rows: tuple[int, int, list[float]]) -> None:
        self.lane.post(Step(steps(self.client, rows)))

    def run(self) -> None:
        finish(self.lane)


def finish(lane: Lane) -> None:
    lane.admit(wait=False)
    while lane.state.scheduler:
        lane.tick()


def written(record: Record) -> dict[tuple[str, str], tuple[int, list[float]]]:
    """Name → position and values."""
    (values,) = record.values
    rows = np.split(values[:, 0], np.cumsum(record.lengths)[:-1])
    columns = zip(record.names, record.positions.tolist(), rows, strict=True)
    return {name: (position, row.tolist()) for name, position, row in columns}


def test_a_record_names_its_sequences_and_holds_what_they_were_given() -> None:
    bench = Bench()
    bench.open(1, 2)
    bench.send((1, 0, [1, 2]), (2, 0, [5]))
    bench.run()
    bench.send((1, 2, [7]))
    bench.run()
    first, second = bench.journal.records
    assert (first.model, first.version) == ("sum", "1")
    assert written(first) == {("t", "s1"): (0, [1, 2]), ("t", "s2"): (0, [5])}
    assert written(second) == {("t", "s1"): (2, [7])}


def test_rows_that_fail_are_not_in_the_record() -> None:
    bench = Bench()
    bench.open(1, 2, 3)
    bench.send((1, 0, [1, 2]), (2, 0, [13]), (3, 0, [4]))
    bench.run()
    (record,) = bench.journal.records
    assert written(record) == {("t", "s1"): (0, [1, 2]), ("t", "s3"): (0, [4])}


def test_a_tick_without_any_applied_row_needs_no_journal() -> None:
    bench = Bench()
    bench.open(1)
    bench.journal.failures = 1
    bench.send((1, 0, [13]))
    bench.run()
    assert bench.journal.failures == 1 and not bench.journal.records


def test_replaying_the_records_gives_the_states() -> None:
    bench = Bench()
    bench.open(1, 2)
    bench.send((1, 0, [1, 2]), (2, 0, [5]), (1, 2, [3]), (2, 1, [13]))
    bench.run()
    bench.send((2, 1, [4]), (1, 3, [1, 1]))
    bench.run()
    again = Heard()
    other = sum_lane(Clock(), engine=SumEngine(LIMITS.slots), limits=LIMITS)
    for record in bench.journal.records:
        for (tenant, name), (position, values) in written(record).items():
            other.post(Open(again, int(name[1:]), (tenant, name), Mode.FRESH, 1))
            other.post(Step(steps(again, [(int(name[1:]), position, values)])))
        finish(other)
    for lane in (bench.lane, other):
        names = lane.state.sequences.names
        assert {n: int(lane.state.sequences.position[i]) for n, i in names.items()} == {
            ("t", "s1"): 5,
            ("t", "s2"): 2,
        }
    last = {int(a.keys[0]): a.outputs[1][-1, 0] for a in again.take() if isinstance(a, Stepped)}
    assert last == {1: 8, 2: 9}


def test_rows_of_a_sequence_that_was_begun_anew_meanwhile_are_left_out() -> None:
    bench = Bench()
    for value in (1, 5):
        row = steps(bench.client, [(0, NEXT, [value])])
        bench.lane.post(named_row(row, "n", tenant="t", start=True))
    bench.run()
    assert [written(record) for record in bench.journal.records] == [{("t", "n"): (0, [5])}]
    assert len([a for a in bench.client.take() if isinstance(a, Stepped)]) == 2


def test_stateless_rows_are_not_logged_and_do_not_depend_on_the_disk() -> None:
    journal, client = FlakyJournal(failures=100), Heard()
    lane = sum_lane(Clock(), spec=STATELESS_SUM, journal=journal)
    lane.post(Step(steps(client, [(1, 0, [1]), (2, 0, [2])])))
    finish(lane)
    answers = client.take()
    assert any(isinstance(a, Stepped) for a in answers) and not any(isinstance(a, Failed) for a in answers)
    assert not journal.records and journal.failures == 100
