"""What a lane costs beside the runtime, on one thread and without a wire: with the reference model, whose weights flush
the core's caches at every tick, and with one of the same inputs and outputs that is so small that it does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from headrace.contract import read_model
from headrace.server.commands import Mode, Open, Step
from headrace.server.engine import OnnxEngine
from headrace.server.journal import NoJournal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.metrics import Metrics
from headrace.server.steps import STATELESS, Answer, Answers, Array, Steps, steps_answered

from .figures import Figure
from .reference import small
from .site import BATCH, Site

#: Frames in a tick, and rows in each.
TICKS = ((1, 64), (4, 64), (1, 256))
WARM, COUNTED = 30, 200

Round = tuple[float, float]


class Nobody:
    """A caller that does not listen."""

    def deliver(self, answer: Answer) -> None:
        """The lane's answers end before they come here."""


def outside(file: Path, frames: int, rows: int) -> float:
    """CPU seconds a tick of so many frames that are not the runtime's. Raises RuntimeError if a row is not answered."""
    lane, metrics, heard = _lane(file, frames * rows)
    callers = [Nobody() for _ in range(frames)]
    _open(lane, callers, rows)
    values = tuple(i.sample(rows, np.random.default_rng(0)) for i in lane.spec.inputs)
    spent = 0.0
    for tick in range(WARM + COUNTED):
        for caller in callers:  # each frame's values have memory of their own, as those from the wire have
            lane.post(Step(_steps(caller, rows, tick, tuple(v.copy() for v in values))))
        heard.clear()
        seconds = _outside_of_one(lane, metrics)
        spent += seconds if tick >= WARM else 0.0
        if (answered := sum(map(steps_answered, _told(heard)))) != frames * rows:
            raise RuntimeError(f"{answered} of {frames * rows} rows were answered")
    return spent / COUNTED


def _lane(file: Path, sequences: int) -> tuple[Lane, Metrics, list[Answers]]:
    """A lane that is not started, its metrics, and where its answers go."""
    graph, spec = read_model(file)
    limits, heard, metrics = Limits(rows=BATCH, sequences=sequences), list[Answers](), Metrics.unseen()
    engine, meter = OnnxEngine(graph, spec, limits.slots, "CPU"), metrics.lane(spec, "1", 0)
    return Lane(spec, "1", engine, NoJournal(), meter, limits, heard.append, time.monotonic), metrics, heard


def _open(lane: Lane, callers: Sequence[Nobody], rows: int) -> None:
    for number, caller in enumerate(callers):
        for key in range(rows):
            lane.post(Open(caller, key, ("", f"{number}-{key}"), Mode.FRESH, key + 1))
    lane.admit(wait=False)


def _outside_of_one(lane: Lane, metrics: Metrics) -> float:
    began, computed = time.thread_time(), metrics.total("compute_cpu_seconds")
    lane.admit(wait=False)
    lane.tick()
    return time.thread_time() - began - (metrics.total("compute_cpu_seconds") - computed)


def _told(heard: Sequence[Answers]) -> Iterator[Answer]:
    return (answer for answers in heard for _, answer in answers)


def _steps(caller: Nobody, rows: int, position: int, values: tuple[Array, ...]) -> Steps:
    ones, at = np.ones(rows, np.int64), np.full(rows, position, np.int64)
    keys, nobody, never = np.arange(rows, dtype=np.uint32), np.full(rows, STATELESS, np.int64), np.full(rows, np.inf)
    return Steps(caller, keys, nobody, at, ones, at, never, time.monotonic(), values)


def caches(site: Site) -> list[Figure]:
    little = small(site.results / "small")

    def both(frames: int, rows: int) -> Round:
        return outside(site.model, frames, rows), outside(little, frames, rows)

    return [figure(frames, rows, site.repeat(partial(both, frames, rows))) for frames, rows in TICKS]


def figure(frames: int, rows: int, rounds: Sequence[Round]) -> Figure:
    """rounds: CPU seconds beside the reference model, and beside the small one."""
    large, little = (1e6 * median(column) for column in zip(*rounds, strict=True))
    note = f"{large:.0f} µs a tick beside the reference model, {little:.0f} beside a small one"
    times = median(a / b for a, b in rounds)
    return Figure(f"a lane outside the runtime, {frames} x {rows} rows a tick", times, "x", note=note)
