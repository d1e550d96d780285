"""A lane of a model without states, driven by hand on one thread: its scheduler, engine and commit without a server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.contract import read_model
from headrace.server.batch import Batch, Outcome
from headrace.server.commands import Step
from headrace.server.engine import OnnxEngine
from headrace.server.journal import NoJournal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.measure import calibrate
from headrace.server.metrics import Metrics
from headrace.server.steps import STATELESS, Answer, Answers, Stepped, Steps
from headrace.server.trial import Trial
from headrace.spec import ModelSpec

__all__ = ["Clock", "Hand", "Limits", "Rows", "found"]

Rows = NDArray[np.int64]

#: Rows of a batch that are never exceeded.
MOST = 512


class Nobody:
    """A caller that does not listen."""

    def deliver(self, answer: Answer) -> None:
        """The lane's answers end before they come here."""


class Recording:
    """An engine, and the last batch that it ran."""

    def __init__(self, engine: OnnxEngine) -> None:
        self._engine = engine
        self.walk, self.begin, self.fork, self.forget = engine.walk, engine.begin, engine.fork, engine.forget
        self.last: Batch | None = None

    def run(self, batch: Batch) -> Outcome:
        self.last = batch
        return self._engine.run(batch)


@dataclass(slots=True)
class Clock:
    """Seconds, moved by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def found(file: Path) -> Limits:
    """What the server measures of the model at load: the most rows and time steps of a batch, and what one costs."""
    measured = calibrate(Trial.of(file, "CPU"), "CPU")
    return Limits(measured.rows, measured.tokens, sequences=1, most_rows=MOST, cost=measured.cost)


@dataclass(slots=True)
class Hand:
    """Mutable: the lane; its clock; and `told`, the keys that were answered by the last tick."""

    spec: ModelSpec
    lane: Lane
    engine: Recording
    clock: Clock
    told: list[int] = field(default_factory=list)
    sink: Nobody = field(default_factory=Nobody)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @classmethod
    def of(cls, file: Path, limits: Limits, threads: int = 1) -> Hand:
        """threads: of the runtime."""
        graph, spec = read_model(file)
        engine, clock = Recording(OnnxEngine(graph, spec, limits.slots, "CPU", threads)), Clock()
        told: list[int] = []

        def heard(answers: Answers) -> None:
            told.extend(key for _, answer in answers if isinstance(answer, Stepped) for key in answer.keys.tolist())

        meter = Metrics.unseen().lane(spec, "1", 0)
        return cls(spec, Lane(spec, "1", engine, NoJournal(), meter, limits, heard, clock), engine, clock, told)

    def limit(self, rows: int, tokens: int) -> None:
        self.lane.state.scheduler.limit(rows, tokens)

    def post(self, keys: Rows, lengths: Rows) -> None:
        """A frame of rows of random values."""
        nothing = np.zeros(len(keys), np.int64)
        values = tuple(given.sample(int(lengths.sum()), self.rng) for given in self.spec.inputs)
        never, nobody = np.full(len(keys), np.inf), nothing + STATELESS
        named = keys.astype(np.uint32)
        self.lane.post(Step(Steps(self.sink, named, nobody, nothing, lengths, nothing, never, self.clock.now, values)))

    @property
    def busy(self) -> bool:
        """Whether rows wait, of those that were posted before the last tick."""
        return self.lane.state.busy

    def tick(self) -> float:
        """CPU seconds of one turn of the lane: what was posted is admitted, and one batch runs, if any row waits."""
        self.told.clear()
        began = time.thread_time()
        self.lane.admit(wait=False)
        if self.lane.state.busy:
            self.lane.tick()
        return time.thread_time() - began

    def drain(self, lengths: Rows) -> float:
        """CPU seconds until rows of these lengths, which come together, are all answered."""
        self.post(np.arange(len(lengths)), lengths)
        took = self.tick()
        while self.busy:
            took += self.tick()
        return took
