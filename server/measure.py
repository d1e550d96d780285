"""Measures what batches of a model cost here, on a lane of its own in a process of its own, and keeps what it found.

    python -m headrace.server.measure FILE DEVICE CACHE

It gives way to everything else on the machine, and counts CPU time, so that waiting does not count.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from headrace.errors import HeadraceError
from headrace.spec import Chunk

from .calibration import MOST_ROWS, Calibration, Key, keep
from .cost import Cost
from .device import Device
from .knee import IN_A_ROW, Line, knee, lanes_fed, measure
from .similar import suits
from .steps import Rows
from .trial import TOKENS, Trial

#: CPU seconds of all ticks, about.
BUDGET = 1.0

#: Time steps of the rows that tell what padding costs: long ones, of which each has many cells of attention, and short
#: ones, which have few.
LONG, SHORT = 256, 16

LOWEST_PRIORITY = 19


def sizes(most: int) -> Iterator[int]:
    """1, 2, 4, … rows, and the most."""
    rows = 1
    while rows < most:
        yield rows
        rows *= 2
    yield most


def calibrate(trial: Trial, device: Device, budget: float = BUDGET) -> Calibration:
    """Rows count for models with states, whose chunks are short; for others it is time steps that cost."""
    return by_tokens(trial, device, budget) if suits(trial.lane.spec) else by_rows(trial, device, budget)


def by_rows(trial: Trial, device: Device, budget: float) -> Calibration:
    """Of a model whose rows are of one length each, in all batches or in each of them."""
    curve = measure(lambda rows: trial.tick(trial.alike(rows)), sizes(trial.most), budget)
    rows, defaults = knee(curve), Calibration()
    lanes = lanes_fed(trial.share(trial.alike(rows))) if device == "CPU" else 1
    if trial.lane.spec.stateful:
        return Calibration(rows=rows, tokens=max(defaults.tokens, rows), lanes=lanes, curve=curve)
    tokens = rows * trial.time
    return Calibration(rows=min(tokens, MOST_ROWS[device]), tokens=tokens, lanes=lanes, curve=curve)


def by_tokens(trial: Trial, device: Device, budget: float) -> Calibration:
    """Of a model whose rows share a batch whatever their lengths: time steps in a batch, and the cost of padding."""
    # One batch for all rows of a step: what it costs is asked, not how it would best be cut.
    trial.lane.state.scheduler.limit(len(trial.positions), TOKENS, Cost(cell=0.0))
    mixed = {int(lengths.sum()): lengths for lengths in map(trial.mixed, sizes(trial.most))}
    curve = measure(lambda tokens: trial.tick(mixed[tokens]), mixed, budget)
    tokens, line = knee(curve), Line.through(curve)
    lanes = lanes_fed(trial.share(mixed[tokens])) if device == "CPU" else 1
    cell = padding(trial.tick, trial.lane.spec.chunk, trial.most, tokens)
    cost = Cost(line.call, cell / line.step)
    return Calibration(rows=min(tokens, MOST_ROWS[device]), tokens=tokens, lanes=lanes, curve=curve, cost=cost)


def padding(tick: Callable[[Rows], float], chunk: Chunk, most: int, tokens: int) -> float:
    """Seconds of one cell of attention, by batches of about so many time steps, in few long rows and in many short.

    tick: seconds of a batch of such lengths, of at most so many rows. 0 where all rows are of one length, or too short
    to tell.
    """
    longest = min(chunk.longest, LONG)
    few = max(1, tokens // longest)
    many = few * longest // SHORT
    if chunk.exactly is not None or longest < 2 * SHORT or many > most:
        return 0.0
    batches = [np.full(rows, length, np.int64) for rows, length in ((few, longest), (many, SHORT))]
    rounds = [[tick(lengths) / lengths.sum() for lengths in batches] for _ in range(IN_A_ROW)]
    long, short = map(min, zip(*rounds, strict=True))  # seconds a time step
    return max(0.0, float(long - short) / (longest - SHORT))


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
