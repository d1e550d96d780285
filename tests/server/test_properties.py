"""Whatever happens in whatever order: each sequence is the sum of what was acknowledged to it, each row is answered
exactly once, and nothing leaks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headrace.errors import TakenOver, UnknownSequence
from headrace.server.commands import Cancel, Close, Leave, Mode, Open, Step
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, Answer, Closed, Failed, Opened, Stepped

from .fakes import CUT_SUM, SUM, Clock, FlakyJournal, SumEngine, named_row, steps, sum_lane

KEYS = st.integers(0, 3)
CLIENTS = st.integers(0, 1)
VALUES = st.lists(st.sampled_from([1.0, 2.0, 5.0, 13.0]), min_size=1, max_size=7)  # the engine refuses 13
LIMITS = Limits(rows=3, tokens=6, sequences=6, idle=1e9, part=2, few=0)


@dataclass(eq=False)
class Client:
    """A sink; both clients write into one log, so that the order of all answers is known."""

    log: list[tuple[Client, Answer]]

    def deliver(self, answer: Answer) -> None:
        self.log.append((self, answer))


@dataclass
class Told:
    """What the answers say of a sequence."""

    owner: Client
    applied: list[float]
    sent: int  # where its next step begins
    closing: bool = False


class Sequences(RuleBasedStateMachine):
    """Two clients that pipeline, cancel, close, take sequences from each other and lose their connections, a third
    that begins them anew by name, a failing journal and a failing model.

    Mutable: `told`, key → what the answers say of it (a key means the same sequence to both clients);
    `unanswered`, how many rows of (client, key, position) wait.
    """

    spec = SUM

    def __init__(self) -> None:
        super().__init__()
        self.journal = FlakyJournal()
        self.engine = SumEngine(LIMITS.slots, refuse=lambda row: bool((row == 13).any()))
        self.lane = sum_lane(Clock(), spec=self.spec, engine=self.engine, journal=self.journal, limits=LIMITS)
        self.log: list[tuple[Client, Answer]] = []
        self.clients = [Client(self.log), Client(self.log)]
        self.named = Client(self.log)
        self.told: dict[int, Told] = {}
        self.values: dict[tuple[int, int], list[float]] = {}
        self.unanswered: Counter[tuple[Client, int, int]] = Counter()
        self.chosen = 0
        self.incarnations: dict[tuple[int, int], int] = {}  # (client, key) → the last that it opened it with
        self.holder: dict[int, int] = {}  # key → incarnation of the last open that succeeded

    @initialize()
    def begin(self) -> None:
        for key in range(3):
            self.open(key % 2, key, Mode.FRESH)

    @rule(who=CLIENTS, key=KEYS, mode=st.sampled_from(Mode))
    def open(self, who: int, key: int, mode: Mode) -> None:
        """Also of what the other client owns and has rows queued in, or is about to close."""
        self.settle_detached()
        self.chosen += 1
        incarnation = self.incarnations.get((who, key), self.chosen) if mode is Mode.REJOIN else self.chosen
        self.lane.post(Open(self.clients[who], key, ("", f"s{key}"), mode, incarnation))
        self.lane.admit(wait=False)
        opened = [a for client, a in self.log if isinstance(a, Opened) and client is self.clients[who]]
        self.hear()
        assert not opened or mode is not Mode.REJOIN or self.holder[key] == incarnation
        if opened:
            self.holder[key] = self.incarnations[who, key] = incarnation

    @rule(rows=st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=6))
    def send(self, rows: list[tuple[int, list[float]]]) -> None:
        """A frame of each client, of the rows whose sequences it owns."""
        for client in self.clients:
            frame, acked = [], []
            for key, values in rows:
                told = self.told.get(key)
                if told is not None and told.owner is client and not told.closing:
                    frame.append((key, told.sent, values))
                    acked.append(len(told.applied))
                    self.values[key, told.sent] = values
                    told.sent += len(values)
            self.post(client, frame, acked)

    @rule(who=CLIENTS, key=KEYS)
    def send_to_what_is_not_owned(self, who: int, key: int) -> None:
        told = self.told.get(key)
        if told is None or told.owner is not self.clients[who]:
            self.post(self.clients[who], [(key, 0, [1.0])], [0])

    def post(self, client: Client, frame: list[tuple[int, int, list[float]]], acked: list[int]) -> None:
        if frame:
            self.unanswered.update((client, key, position) for key, position, _ in frame)
            self.lane.post(Step(steps(client, frame, acked=acked)))

    @rule(key=KEYS)
    def repeat(self, key: int) -> None:
        """A step that is applied is sent again: it must not be applied twice."""
        if (told := self.told.get(key)) and told.applied:
            self.post(told.owner, [(key, 0, self.values[key, 0])], [0])

    @rule(key=KEYS, back=st.integers(0, 3))
    def cancel(self, key: int, back: int) -> None:
        if told := self.told.get(key):
            keys, positions = np.array([key], np.uint32), np.array([max(0, told.sent - back)], np.int64)
            self.lane.post(Cancel(told.owner, keys, positions))

    @rule(times=st.integers(1, 2))
    def break_journal(self, times: int) -> None:
        self.journal.failures = times

    @rule(ticks=st.integers(0, 3))
    def run(self, ticks: int) -> None:
        self.lane.admit(wait=False)
        for _ in range(ticks):
            if self.lane.state.busy:
                self.lane.tick()
        self.hear()

    @rule(who=CLIENTS)
    def reconnect(self, who: int) -> None:
        """The connection breaks: what is queued is gone, the sequences are resumed on a new one."""
        self.lane.post(Leave(self.clients[who]))
        self.lane.admit(wait=False)
        self.hear()
        lost, self.clients[who] = self.clients[who], Client(self.log)
        mine = [key for key, told in self.told.items() if told.owner is lost]
        for key in [key for key in mine if self.told[key].closing]:  # it leaves with a step under way, and tells nobody
            mine.remove(key)
            self.forget(key)
        for key in mine:
            self.open(who, key, Mode.REJOIN)
            assert self.told[key].owner is self.clients[who]

    @rule(key=KEYS)
    def close(self, key: int) -> None:
        """Behind whatever is queued."""
        if (told := self.told.get(key)) and not told.closing:
            told.closing = True
            self.lane.post(Close(told.owner, (key,)))

    @rule(key=KEYS, value=st.sampled_from([1.0, 13.0]))
    def restart_by_name(self, key: int, value: float) -> None:
        """An Open Inference request begins the sequence anew and ends it; its owner hears that it is closed."""
        self.unanswered[self.named, 9, 0] += 1
        row = steps(self.named, [(9, 0, [value])], acked=[NEVER_AGAIN])
        self.lane.post(named_row(row, f"s{key}", start=True, end=True))
        self.lane.admit(wait=False)
        number = self.lane.state.sequences.names.get(("", f"s{key}"))
        if (told := self.told.get(key)) and (number is None or self.lane.state.sequences.closing[number]):
            told.closing = True
        self.hear()

    def settle_detached(self) -> None:
        """A key would mean two sequences else: a new one, and one that was begun anew, whose last rows still wait."""
        sequences = self.lane.state.sequences
        if (sequences.detached & np.isfinite(sequences.used)).any():
            self.settle()

    def settle(self) -> None:
        self.lane.admit(wait=False)
        while self.lane.state.busy:
            self.lane.tick()
        self.hear()

    def hear(self) -> None:
        """After every admission: nothing is on its way to the lane then."""
        for client, answer in self.log:
            match answer:
                case Opened(key, _, position, resumed):
                    self.opened(client, key, position, resumed=resumed)
                case Stepped():
                    self.stepped(client, answer)
                case Failed(int(key), int(position), error):
                    self.answered(client, key, position)
                    told = self.told.get(key)
                    lost = isinstance(error, TakenOver | UnknownSequence)
                    # A repetition of what is applied may be refused; that moves nothing.
                    if told and told.owner is client and position >= len(told.applied) and not lost:
                        at = error.expected_position
                        told.sent = min(told.sent, position) if at is None else at
                case Closed(keys):
                    for key in keys:
                        assert self.told[key].owner is client and self.told[key].closing
                        self.forget(key)
        self.log.clear()
        assert self.unanswered.total() == self.lane.state.sequences.pending.sum(), "a row is lost, or answered unasked"

    def opened(self, client: Client, key: int, position: int, *, resumed: bool) -> None:
        if not resumed:
            self.forget(key)
        applied = self.told[key].applied if resumed else []
        assert position == len(applied)
        self.told[key] = Told(client, applied, position)

    def stepped(self, client: Client, answer: Stepped) -> None:
        rows = np.split(answer.outputs[0][:, 0], np.cumsum(answer.lengths)[:-1])
        for key, position, row in zip(answer.keys.tolist(), answer.positions.tolist(), rows, strict=True):
            self.answered(client, key, position)
            if client is self.named or key not in self.told:
                continue
            applied = self.told[key].applied
            if position == len(applied):
                applied += self.values[key, position]
            assert row.tolist() == np.cumsum(applied)[position : position + len(row)].tolist()

    def answered(self, client: Client, key: int, position: int) -> None:
        self.unanswered[client, key, position] -= 1
        assert self.unanswered[client, key, position] >= 0, "a row is answered twice"

    def forget(self, key: int) -> None:
        self.told.pop(key, None)
        self.values = {at: v for at, v in self.values.items() if at[0] != key}

    @invariant()
    def slots_are_neither_lost_nor_shared(self) -> None:
        state = self.lane.state
        held = state.sequences.slot[np.isfinite(state.sequences.used)]
        free = state.slots.take(len(state.slots))
        state.slots.give(free)
        meanwhile = state.underway.slots
        assert sorted([*held[held >= 0].tolist(), *meanwhile.tolist(), *free.tolist()]) == list(range(LIMITS.slots))

    def teardown(self) -> None:
        """When all is answered and closed, nothing is left: no row, no kept byte, no sequence."""
        self.settle()
        for key, told in list(self.told.items()):
            self.close(key)
            assert told.closing
        self.settle()
        state = self.lane.state
        assert not self.told and not self.unanswered.total()
        assert not state.busy and not len(state.sequences)
        assert (state.kept.total, state.kept.count.sum(), state.sequences.pending.sum()) == (0, 0, 0)
        assert len(state.slots) == LIMITS.slots


class CutSequences(Sequences):
    """The same where steps of more than two time steps take several ticks, while commands come in between."""

    spec = CUT_SUM


OFTEN = settings(max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestSequences, TestCutSequences = Sequences.TestCase, CutSequences.TestCase
TestSequences.settings = TestCutSequences.settings = OFTEN
