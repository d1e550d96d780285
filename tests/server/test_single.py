"""One row alone is admitted as it would be beside another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.server.commands import Mode, NamedSteps, Open, Step
from headrace.server.limits import Limits
from headrace.server.single import keyed, named
from headrace.server.steps import NEVER_AGAIN, NEXT, Steps

from .fakes import STATELESS_SUM, SUM, Clock, Heard, named_row, steps, sum_lane

NAMES = ("a", "b")
OTHER = 2  # the key of the row beside, of a sequence of its own


class Row(NamedTuple):
    """shift: of its position, None for wherever the sequence stands; acked: below what is expected, None: for ever."""

    key: int
    named: bool
    start: bool
    end: bool
    shift: int | None
    length: int
    acked: int | None
    sound: bool
    settle: bool


def mostly(usual: object, *others: object) -> st.SearchStrategy[object]:
    return st.sampled_from([usual] * 6 + [*others])


ROWS = st.builds(
    Row,
    key=st.sampled_from([0, 0, 1]),
    named=st.booleans(),
    start=mostly(False, True),
    end=mostly(False, True),
    shift=st.sampled_from([0, 0, 0, None, 1]),
    length=mostly(1, 2),
    acked=st.sampled_from([0, 0, None, 1]),
    sound=mostly(True, False),
    settle=mostly(True, False),
)


class Caller:
    """Two sequences, opened by key; rows come alone, or beside a row of a third one."""

    def __init__(self, *, beside: bool) -> None:
        self.sink, self.clock, self._beside, self._sent = Heard(), Clock(), beside, 0
        self.lane = sum_lane(self.clock, limits=Limits(rows=4, tokens=64, sequences=8))
        for key, name in enumerate((*NAMES, "other")):
            self.lane.post(Open(self.sink, key, ("", name), Mode.FRESH, 1))
        self.lane.admit(wait=False)
        self.sink.take()

    def step(self, row: Row) -> Steps:
        """Of the row itself, and of the one beside it."""
        sequences = self.lane.state.sequences
        number = sequences.names.get(("", NAMES[row.key]))
        expected = 0 if number is None else int(sequences.expected[number])
        values = [1.0 if row.sound else np.nan] * row.length
        rows = [(row.key, NEXT if row.shift is None else expected + row.shift, values)]
        acked = [NEVER_AGAIN if row.acked is None else max(0, expected - row.acked)]
        if self._beside:
            rows.append((OTHER, self._sent, [1.0]))
            acked.append(NEVER_AGAIN)
            self._sent += 1
        return steps(self.sink, rows, acked=acked, now=self.clock.now)

    def send(self, row: Row) -> list[str]:
        """What is said of the row, and where its sequence stands then."""
        self.clock.now += 1
        step, names = self.step(row), (("", NAMES[row.key]), ("", "other"))
        if row.named:
            flags = [np.array([flag, False][: len(step)]) for flag in (row.start, row.end)]
            self.lane.post(NamedSteps(step, names[: len(step)], *flags))
        else:
            self.lane.post(Step(step))
        self.lane.admit(wait=False)
        while row.settle and self.lane.state.scheduler:
            self.lane.tick()
        return [repr(answer) for answer in self._own()] + [str(self._books(row.key))]

    def _own(self) -> list[object]:
        """Answers to the first row of each frame: those of both come in one piece."""
        own: list[object] = []
        for answer in self.sink.take():
            keys = getattr(answer, "keys", None)
            own.append(answer if keys is None else [key for key in list(keys) if key != OTHER])
        return [answer for answer in own if getattr(answer, "key", None) != OTHER and answer != []]

    def _books(self, key: int) -> list[float]:
        state = self.lane.state
        number = state.sequences.names.get(("", NAMES[key]))
        if number is None:
            return []
        sequences, kept = state.sequences, state.kept
        columns = (sequences.position, sequences.expected, sequences.pending, sequences.used, kept.count, kept.size)
        return [float(column[number]) for column in columns]


@given(rows=st.lists(ROWS, min_size=1, max_size=12))
@settings(deadline=None, max_examples=150)
def test_a_row_alone_is_admitted_as_it_is_beside_another(rows: list[Row]) -> None:
    alone, beside = Caller(beside=False), Caller(beside=True)
    for row in rows:
        assert alone.send(row) == beside.send(row), row


def test_usual_rows_need_no_more() -> None:
    caller = Caller(beside=False)
    state = caller.lane.state
    first, second = (steps(caller.sink, [(0, position, [1.0])], acked=[NEVER_AGAIN]) for position in range(2))
    assert keyed(SUM, state, first, 5.0)
    assert not keyed(SUM, state, second, 5.0)  # the first is pending
    assert not named(SUM, state, named_row(first, "nobody"), 5.0)
    caller.lane.tick()
    assert named(SUM, state, named_row(steps(caller.sink, [(0, NEXT, [1.0])], acked=[NEVER_AGAIN]), "a"), 6.0)
    caller.lane.tick()
    assert [answer.positions.tolist() for answer in caller.sink.take()] == [[0], [1]]  # type: ignore[union-attr]
    assert state.sequences.used[0] == 100.0  # as of the commit


def test_models_without_states_know_no_sequences() -> None:
    caller = Caller(beside=False)
    assert not keyed(STATELESS_SUM, caller.lane.state, steps(caller.sink, [(0, 0, [1.0])]), 5.0)
