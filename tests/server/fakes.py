"""Stand-ins at the server's real seams: an engine in numpy, a sink, a clock that is set by hand, journals that fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.errors import ModelFailed
from headrace.ragged import starts
from headrace.server.batch import Batch, Outcome
from headrace.server.commands import Command, NamedSteps
from headrace.server.journal import Journal, NoJournal, Record
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.meter import Meter
from headrace.server.metrics import LaneMeter
from headrace.server.onward import Walk
from headrace.server.steps import STATELESS, Answer, Answers, Array, Rows, Sink, Steps
from headrace.server.work import Engine
from headrace.spec import Chunk, Input, ModelSpec, Output, Parity, State

FEATURES = 2

#: A model that can be checked by hand: y[t] = x[0] + … + x[t], over all chunks; `last` is y at the end of the step.
SUM = ModelSpec(
    name="sum",
    inputs=(Input(name="x", dtype="float32", shape=(FEATURES,)),),
    outputs=(
        Output(name="y", dtype="float32", shape=(FEATURES,), time=True),
        Output(name="last", dtype="float32", shape=(FEATURES,), time=False),
    ),
    states=(State(name="s", input="s", output="s_out", dtype="float32", shape=(FEATURES,)),),
    chunk=Chunk(longest=16),
)
CUT_SUM = SUM.model_copy(update={"parity": Parity(error=0.0, cases=1)})  # proven, so that long steps may be cut
STATELESS_SUM = SUM.model_copy(update={"name": "stateless-sum", "states": ()})


@dataclass
class SumEngine:
    """The model SUM with an arena of its own. `refuse` says which rows the runtime cannot run."""

    slots: int
    refuse: Callable[[np.ndarray], bool] = lambda values: False
    batches: list[Batch] = field(default_factory=list)
    sources: dict[int, float] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.arena = np.full((self.slots, FEATURES), np.nan, np.float32)  # whatever is read unwritten shows

    def run(self, batch: Batch) -> Outcome:
        self.batches.append(batch)
        (values,) = batch.values
        rows = np.split(values, np.cumsum(batch.lengths)[:-1])
        if any(self.refuse(row) for row in rows):
            raise ModelFailed("scripted")
        state = np.where(batch.fresh[:, None], 0, self.arena[batch.read])
        if not batch.write.any() and not batch.read.any():  # stateless
            state = np.zeros_like(state)
        y = np.concatenate([s + np.cumsum(row, axis=0) for s, row in zip(state, rows, strict=True)]).astype(np.float32)
        last = y[starts(batch.lengths) + batch.lengths - 1]
        self.arena[batch.write] = last
        return Outcome(batch.outputs((y, last), (True, False)), np.isfinite(last).all(axis=1))

    def walk(self, write: Rows, spare: Rows) -> Walk | None:
        return None

    def begin(self, numbers: Rows, source: tuple[Array, ...], lengths: Rows) -> NDArray[np.bool_]:
        """What a source gives is kept by number: its sum. A row that `refuse` names is not sound."""
        rows = np.split(source[0], np.cumsum(lengths)[:-1])
        self.sources |= {int(number): float(row.sum()) for number, row in zip(numbers, rows, strict=True)}
        return np.array([not self.refuse(row) for row in rows])

    def fork(self, number: int, slot: int, length: int, numbers: Rows, slots: Rows) -> None:
        if number in self.sources:
            self.sources |= dict.fromkeys(numbers.tolist(), self.sources[number])
        if len(slots):
            self.arena[slots] = self.arena[slot]

    def forget(self, numbers: Rows) -> None:
        self.forgotten += numbers.tolist()
        for number in numbers.tolist():
            self.sources.pop(number, None)


@dataclass
class Clock:
    """Seconds, moved by the test."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Heard:
    """A sink that remembers."""

    answers: list[Answer] = field(default_factory=list)

    def deliver(self, answer: Answer) -> None:
        self.answers.append(answer)

    def take(self) -> list[Answer]:
        answers, self.answers = self.answers, []
        return answers


@dataclass
class FlakyJournal:
    """Fails as often as told, then keeps records."""

    failures: int = 0
    records: list[Record] = field(default_factory=list)
    keeps: bool = True

    def append(self, record: Record) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("disk full (scripted)")
        self.records.append(record)


def deliver(answers: Answers) -> None:
    for sink, answer in answers:
        sink.deliver(answer)


def sum_lane(
    clock: Clock,
    *,
    spec: ModelSpec = SUM,
    engine: Engine | None = None,
    journal: Journal | None = None,
    limits: Limits | None = None,
    meter: Meter | None = None,
) -> Lane:
    """A lane that is not started: the test calls `admit` and `tick` itself."""
    limits = limits or Limits(rows=4, tokens=64, sequences=8, idle=60.0)
    engine = engine or SumEngine(limits.slots)
    meter = meter or LaneMeter((spec.name, "1", "0"))
    return Lane(spec, "1", engine, journal or NoJournal(), meter, limits, deliver, clock)


def admit(lane: Lane, *commands: Command) -> None:
    """They are handled, and whatever was posted before; nothing runs."""
    for command in commands:
        lane.post(command)
    assert lane.admit(wait=False)


def named_row(row: Steps, name: str, *, tenant: str = "", start: bool = False, end: bool = False) -> NamedSteps:
    """One row that names its sequence."""
    return NamedSteps(row, ((tenant, name),), np.array([start]), np.array([end]))


def steps(
    sink: Sink,
    rows: Sequence[tuple[int, int, Sequence[float] | np.ndarray]],
    *,
    now: float = 100.0,
    acked: Sequence[int] | None = None,
    deadline: float = np.inf,
) -> Steps:
    """(key, position, values of each time step) of each row; a scalar stands for all features."""
    cells = [np.repeat(np.asarray(values, np.float32)[:, None], FEATURES, axis=1) for _, _, values in rows]
    positions = np.array([position for _, position, _ in rows], np.int64)
    return Steps(
        sink=sink,
        keys=np.array([key for key, _, _ in rows], np.uint32),
        numbers=np.full(len(rows), STATELESS, np.int32),
        positions=positions,
        lengths=np.array([len(c) for c in cells], np.int64),
        acked=positions if acked is None else np.array(acked, np.int64),
        deadlines=np.full(len(rows), deadline),
        arrived=now,
        values=(np.concatenate(cells),),
    )
