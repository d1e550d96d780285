"""A lane to measure with: its ticks are taken by hand, and nobody else uses it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headrace.errors import ConfigurationError

from .calibration import MOST_ROWS
from .commands import Mode, Open, Step
from .device import Device
from .journal import NoJournal
from .lane import Lane
from .metrics import Metrics
from .repository import Loader
from .settings import Settings
from .steps import STATELESS, Answer, Rows, Steps

#: Time steps in a row of a model without states, where its spec leaves it open.
TIME = 32

#: So many ticks tell what part of them is the runtime's.
TICKS = 8

#: No bound: what is measured is found by rows alone.
TOKENS = 1 << 30

#: Weyl's sequence with this step is spread evenly however many of it are taken: the fraction of the golden ratio.
GOLDEN = (5**0.5 - 1) / 2


class Nobody:
    """A caller that does not listen."""

    def deliver(self, answer: Answer) -> None:
        """Answers are not looked at: steps are counted by the metrics."""


@dataclass(slots=True)
class Trial:
    """A lane that is not started. Mutable: `positions` [rows] of its sequences.

    time: of each row, in steps, or of the middle one. clock: CPU seconds, or wall seconds where a GPU computes.
    """

    lane: Lane
    metrics: Metrics
    time: int
    clock: Callable[[], float]
    positions: Rows
    sink: Nobody = field(default_factory=Nobody)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @classmethod
    def of(cls, file: Path, device: Device) -> Trial:
        """Of a model file. Raises ConfigurationError if it cannot be served."""
        most = MOST_ROWS[device]
        settings = Settings(lanes=1, batch_rows=most, batch_tokens=TOKENS, sequences=most)
        metrics = Metrics.unseen()
        loader = Loader(settings, device, NoJournal(), metrics, lambda deliver: lambda answers: None, time.monotonic)
        model = loader.model(file)
        (lane,) = model.lanes
        clock = time.thread_time if device == "CPU" else time.monotonic
        trial = cls(lane, metrics, row_time(lane), clock, np.zeros(most, np.int64))
        trial.open()
        return trial

    @property
    def most(self) -> int:
        """Rows in a batch, as many as the model allows."""
        return self.lane.spec.chunk.rows or len(self.positions)

    def open(self) -> None:
        for key in range(len(self.positions)):
            self.lane.post(Open(self.sink, key, ("", str(key)), Mode.FRESH, key + 1))
        self.lane.admit(wait=False)

    def tick(self, lengths: Rows) -> float:
        """Seconds that one step of rows of these lengths takes, from its arrival to its answer.

        Raises ConfigurationError if not all of them were applied: then the time says nothing.
        """
        steps, applied = self.steps(lengths), self.metrics.total("steps")
        began = self.clock()
        self.lane.post(Step(steps))
        self.lane.admit(wait=False)
        while self.lane.state.scheduler:
            self.lane.tick()
        took = self.clock() - began
        if self.metrics.total("steps") - applied != len(lengths):
            raise ConfigurationError("the model does not take random values, so its limits cannot be measured")
        self.positions[: len(lengths)] += lengths
        return took

    def steps(self, lengths: Rows) -> Steps:
        """The next step of each of the first sequences."""
        rows = len(lengths)
        positions = self.positions[:rows].copy()
        return Steps(
            sink=self.sink,
            keys=np.arange(rows, dtype=np.uint32),
            numbers=np.full(rows, STATELESS, np.int32),
            positions=positions,
            lengths=lengths,
            acked=positions,
            deadlines=np.full(rows, np.inf),
            arrived=time.monotonic(),
            values=tuple(given.sample(int(lengths.sum()), self.rng) for given in self.lane.spec.inputs),
        )

    def share(self, lengths: Rows) -> float:
        """The part of a tick's time that is not the runtime's, 0 to 1."""
        inside = self.metrics.total("compute_cpu_seconds")
        took = sum(self.tick(lengths) for _ in range(TICKS))
        return max(0.0, 1 - (self.metrics.total("compute_cpu_seconds") - inside) / took)

    def alike(self, rows: int) -> Rows:
        """[rows] lengths, all the same."""
        return np.full(rows, self.time, np.int64)

    def mixed(self, rows: int) -> Rows:
        """[rows] lengths spread evenly from half to one and a half of `time`, in irregular order; all the same where
        the model takes no other."""
        if self.lane.spec.chunk.exactly is not None:
            return self.alike(rows)
        places = (np.arange(1, rows + 1) * GOLDEN) % 1
        lengths = np.rint(self.time * (0.5 + places)).astype(np.int64)
        allowed: Rows = np.minimum(np.maximum(lengths, 1), self.lane.spec.chunk.longest)
        return allowed


def row_time(lane: Lane) -> int:
    """Time steps of a row: one, or what the model demands; where no state is carried over, a short sequence."""
    chunk = lane.spec.chunk
    return chunk.exactly or (1 if lane.spec.stateful else min(chunk.longest, TIME))
