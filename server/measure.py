"""Measures what batches of a model cost here, on a lane of its own in a process of its own, and keeps what it found.

    python -m headrace.server.measure FILE DEVICE CACHE

It gives way to everything else on the machine, and counts CPU time, so that waiting does not count.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headrace.errors import ConfigurationError, HeadraceError

from .calibration import MOST_ROWS, Calibration, Key, keep
from .commands import Mode, Open, Step
from .device import Device
from .journal import NoJournal
from .knee import Curve, knee, lanes_fed, measure
from .lane import Lane
from .metrics import Metrics
from .repository import Loader
from .settings import Settings
from .steps import STATELESS, Answer, Rows, Steps

#: CPU seconds of all ticks, about.
BUDGET = 1.0

#: Time steps in a row of a model without states, where its spec leaves it open.
TIME = 32

#: So many ticks tell what part of them is the runtime's.
TICKS = 8

#: No bound: what is measured is found by rows alone.
TOKENS = 1 << 30

LOWEST_PRIORITY = 19


class Nobody:
    """A caller that does not listen."""

    def deliver(self, answer: Answer) -> None:
        """Answers are not looked at: steps are counted by the metrics."""


@dataclass(slots=True)
class Trial:
    """A lane that nobody else uses, not started: its ticks are taken by hand. Mutable: `positions` [rows].

    time: of each row, in steps. clock: CPU seconds, or wall seconds where a GPU computes.
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
        loader = Loader(settings, device, NoJournal(), metrics, lambda deliver, answers: None, time.monotonic)
        model = loader.model(file)
        (lane,) = model.lanes
        clock = time.thread_time if device == "CPU" else time.monotonic
        trial = cls(lane, metrics, row_time(lane), clock, np.zeros(most, np.int64))
        trial.open()
        return trial

    def open(self) -> None:
        for key in range(len(self.positions)):
            self.lane.post(Open(self.sink, key, ("", str(key)), Mode.FRESH, key + 1))
        self.lane.admit(wait=False)

    def tick(self, rows: int) -> float:
        """Seconds that one step of so many rows takes, from its arrival to its answer.

        Raises ConfigurationError if not all of them were applied: then the time says nothing.
        """
        steps, applied = self.steps(rows), self.metrics.total("steps")
        began = self.clock()
        self.lane.post(Step(steps))
        self.lane.admit(wait=False)
        while self.lane.state.scheduler:
            self.lane.tick()
        took = self.clock() - began
        if self.metrics.total("steps") - applied != rows:
            raise ConfigurationError("the model does not take random values, so its limits cannot be measured")
        self.positions[:rows] += self.time
        return took

    def steps(self, rows: int) -> Steps:
        """The next step of each of the first sequences."""
        positions, lengths = self.positions[:rows].copy(), np.full(rows, self.time, np.int64)
        return Steps(
            sink=self.sink,
            keys=np.arange(rows, dtype=np.uint32),
            numbers=np.full(rows, STATELESS, np.int32),
            positions=positions,
            lengths=lengths,
            acked=positions,
            deadlines=np.full(rows, np.inf),
            arrived=time.monotonic(),
            values=tuple(given.sample(rows * self.time, self.rng) for given in self.lane.spec.inputs),
        )

    def share(self, rows: int) -> float:
        """The part of a tick's time that is not the runtime's, 0 to 1."""
        inside = self.metrics.total("compute_cpu_seconds")
        took = sum(self.tick(rows) for _ in range(TICKS))
        return max(0.0, 1 - (self.metrics.total("compute_cpu_seconds") - inside) / took)


def row_time(lane: Lane) -> int:
    """Time steps of a row: one, or what the model demands; where no state is carried over, a short sequence."""
    chunk = lane.spec.chunk
    return chunk.exactly or (1 if lane.spec.stateful else min(chunk.longest, TIME))


def sizes(most: int) -> Iterator[int]:
    """1, 2, 4, … rows, and the most."""
    rows = 1
    while rows < most:
        yield rows
        rows *= 2
    yield most


def calibrate(trial: Trial, device: Device, budget: float = BUDGET) -> Calibration:
    """Rows count for models with states, whose chunks are short; for others it is time steps that cost."""
    spec = trial.lane.spec
    curve: Curve = measure(trial.tick, sizes(spec.chunk.rows or len(trial.positions)), budget)
    rows, defaults = knee(curve), Calibration()
    lanes = lanes_fed(trial.share(rows)) if device == "CPU" else 1
    if spec.stateful:
        return Calibration(rows=rows, tokens=max(defaults.tokens, rows), lanes=lanes, curve=curve)
    tokens = rows * trial.time
    return Calibration(rows=min(tokens, MOST_ROWS[device]), tokens=tokens, lanes=lanes, curve=curve)


def main(arguments: list[str]) -> None:
    """Of FILE on DEVICE, kept in CACHE. What prevents it is the last line on standard error."""
    os.nice(LOWEST_PRIORITY)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    file, device, cache = Path(arguments[0]), arguments[1], Path(arguments[2])
    place: Device = "CUDA" if device == "CUDA" else "CPU"
    try:
        keep(cache, Key.of(file, place), calibrate(Trial.of(file, place), place))
    except (HeadraceError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(sys.argv[1:])
