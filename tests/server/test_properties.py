"""Whatever happens in whatever order, each sequence is the sum of what was acknowledged to it, and nothing leaks."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.server.commands import Cancel, Close, Leave, Mode, Open, Step
from headrace.server.limits import Limits
from headrace.server.steps import Failed, Stepped

from .fakes import Clock, FlakyJournal, Heard, SumEngine, deliver, steps, sum_lane

KEYS = st.integers(0, 4)
VALUES = st.lists(st.sampled_from([1.0, 2.0, 5.0, 13.0]), min_size=1, max_size=4)  # the engine refuses 13
LIMITS = Limits(rows=3, tokens=6, sequences=5, idle=1e9)


class Sequences(RuleBasedStateMachine):
    """One client that pipelines, cancels, loses its connection and meets a failing journal and a failing model.

    Mutable: `applied`, key → the values that the answers say were applied; `sent`, key → where the next step begins.
    """

    def __init__(self) -> None:
        super().__init__()
        self.journal = FlakyJournal()
        self.engine = SumEngine(LIMITS.slots, refuse=lambda row: bool((row == 13).any()))
        self.lane = sum_lane(Clock(), engine=self.engine, journal=self.journal, limits=LIMITS)
        self.client = Heard()
        self.applied: dict[int, list[float]] = {}
        self.sent: dict[int, int] = {}
        self.values: dict[tuple[int, int], list[float]] = {}

    @rule(key=KEYS)
    def open(self, key: int) -> None:
        if key not in self.applied:
            self.lane.post(Open(self.client, key, ("", f"s{key}"), Mode.FRESH, key + 1))
            self.applied[key], self.sent[key] = [], 0

    @rule(rows=st.lists(st.tuples(KEYS, VALUES), max_size=6))
    def send(self, rows: list[tuple[int, list[float]]]) -> None:
        frame, acked = [], []
        for key, values in rows:
            if key in self.applied:
                frame.append((key, self.sent[key], values))
                acked.append(len(self.applied[key]))
                self.values[key, self.sent[key]] = values
                self.sent[key] += len(values)
        if frame:
            self.lane.post(Step(steps(self.client, frame, acked=acked)))

    @rule(key=KEYS)
    def repeat(self, key: int) -> None:
        """A step that is applied is sent again: it must not be applied twice."""
        if key in self.applied and self.values.get((key, 0)):
            self.lane.post(Step(steps(self.client, [(key, 0, self.values[key, 0])], acked=[0])))

    @rule(key=KEYS, back=st.integers(0, 3))
    def cancel(self, key: int, back: int) -> None:
        if key in self.applied:
            keys, positions = np.array([key], np.uint32), np.array([max(0, self.sent[key] - back)], np.int64)
            self.lane.post(Cancel(self.client, keys, positions))

    @rule(times=st.integers(1, 2))
    def break_journal(self, times: int) -> None:
        self.journal.failures = times

    @rule(ticks=st.integers(1, 3))
    def run(self, ticks: int) -> None:
        self.lane.admit(wait=False)
        for _ in range(ticks):
            if self.lane.state.scheduler:
                self.lane.tick()
        self.hear()

    @rule()
    def reconnect(self) -> None:
        """The connection breaks: what is queued is gone, the sequences are resumed on a new one."""
        self.run(1)
        self.lane.post(Leave(self.client))
        self.lane.admit(wait=False)
        self.client = Heard()
        for key in self.applied:
            self.lane.post(Open(self.client, key, ("", f"s{key}"), Mode.REJOIN, key + 1))
        self.lane.admit(wait=False)
        self.client.take()
        for key in self.applied:
            number = self.lane.state.sequences.names["", f"s{key}"]
            assert self.lane.state.sequences.position[number] == len(self.applied[key])
            self.sent[key] = len(self.applied[key])

    @rule(key=KEYS)
    def close(self, key: int) -> None:
        if key in self.applied:
            self.settle()
            self.lane.post(Close(self.client, (key,)))
            self.lane.admit(wait=False)
            del self.applied[key], self.sent[key]
            self.values = {at: v for at, v in self.values.items() if at[0] != key}

    def settle(self) -> None:
        self.lane.admit(wait=False)
        while self.lane.state.scheduler:
            self.lane.tick()
        self.hear()

    def hear(self) -> None:
        for answer in self.client.take():
            if isinstance(answer, Stepped):
                self.heard(answer)
            elif isinstance(answer, Failed) and answer.position is not None:
                assert answer.key is not None
                if (at := answer.error.expected_position) is not None and answer.key in self.sent:
                    self.sent[answer.key] = at
                elif answer.key in self.sent:
                    self.sent[answer.key] = min(self.sent[answer.key], answer.position)

    def heard(self, answer: Stepped) -> None:
        rows = np.split(answer.outputs[0][:, 0], np.cumsum(answer.lengths)[:-1])
        for key, position, row in zip(answer.keys.tolist(), answer.positions.tolist(), rows, strict=True):
            applied = self.applied[key]
            if position == len(applied):
                applied += self.values[key, position]
            assert row.tolist() == np.cumsum(applied)[position : position + len(row)].tolist()

    @invariant()
    def slots_are_neither_lost_nor_shared(self) -> None:
        state = self.lane.state
        held = state.sequences.slot[list(state.sequences.names.values())]
        free = state.slots.take(len(state.slots))
        state.slots.give(free)
        assert sorted([*held[held >= 0].tolist(), *free.tolist()]) == list(range(LIMITS.slots))

    def teardown(self) -> None:
        """When all is answered and closed, nothing is left: no row, no kept byte, no sequence."""
        self.settle()
        self.lane.post(Close(self.client, tuple(self.applied)))
        self.lane.admit(wait=False)
        state = self.lane.state
        assert not state.scheduler and not state.sequences.names
        assert (state.kept.total, state.kept.count.sum(), state.sequences.pending.sum()) == (0, 0, 0)
        assert len(state.slots) == LIMITS.slots
        deliver([])


TestSequences = Sequences.TestCase
TestSequences.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
