"""A decoder's ticks: what they cost by the tokens that its rows have behind them, and against their parts alone.

The engine by itself, on one thread; CPU time, so that whatever else runs on the machine counts little.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.figure import Figure as Picture
from numpy.typing import NDArray

from headrace.contract import read_model
from headrace.server.batch import Batch, Grown
from headrace.server.caches.engine import CachedEngine

from .cores import pinned
from .decoder import LONGEST, reference_decoder
from .decoder_lane import beside, stalls
from .decoder_parts import Operator, linear, timed
from .figures import Figure, number
from .process import resident
from .site import Site

Counts = NDArray[np.int64]

#: Rows of a tick: with so many tokens behind each of them; and of mixed lengths up to the longest.
ROWS = (1, 8, 32, 64)
PASTS = tuple(tokens - 1 for tokens in (16, 64, 256, 1024, LONGEST))
MIXED = (1, 2, 4, 8, 16, 32, 64)
MOST = max(MIXED)

#: Tokens of the longest sequence that are read in one call, and ticks of which the middle is taken.
CHUNK, TICKS = 256, 9

#: A tick against the sum of its parts; what sequences of 16 tokens may keep, against their own cells.
OF_PARTS, OF_CELLS = 1.25, 1.25
SHORT = 16

POINTS, PICTURE = "decoders-points.json", "attention-ticks.png"

Curve = dict[int, list[float]]


class Ticks:
    """An engine with one long sequence, number 0, and others that are forked from it and as long as is asked."""

    def __init__(self, file: Path) -> None:
        graph, spec = read_model(file)
        self._tokens = np.random.default_rng(0).integers(0, spec.inputs[0].vocabulary or 1, LONGEST)
        self.engine = CachedEngine(graph, spec, 1, "CPU", rows=MOST)
        self.grow(0)

    def grow(self, sequence: int) -> None:
        """A fresh one becomes as long as all but one token."""
        for past in range(0, LONGEST - 1, CHUNK):
            length = min(CHUNK, LONGEST - 1 - past)
            self._run(np.array([sequence]), np.array([past]), np.array([length]))

    def begin(self, sequences: Counts, tokens: int) -> None:
        """Fresh ones take their first tokens."""
        self._run(sequences, np.zeros_like(sequences), np.full_like(sequences, tokens))

    def of(self, past: Counts) -> Callable[[], float]:
        """Sequences 1, 2, … with so many tokens behind them; called, each of them takes one more, and the CPU seconds
        are told. It is the same tick every time."""
        numbers, ones = np.arange(1, len(past) + 1), np.ones(len(past), np.int64)
        for each, count in zip(numbers, past.tolist(), strict=True):
            self.engine.fork(0, 0, count, np.array([each]), np.zeros(1, np.int64))
        return lambda: timed(lambda: self._run(numbers, past, ones))

    def forget(self, sequences: int) -> None:
        self.engine.forget(np.arange(1, sequences + 1))

    def _run(self, numbers: Counts, past: Counts, lengths: Counts) -> None:
        """Raises RuntimeError if what was computed is not finite."""
        none = np.zeros(len(numbers), np.int64)
        values = np.resize(self._tokens, lengths.sum())
        batch = Batch((values,), lengths, none, none, none.astype(np.bool_), Grown(numbers, past))
        if not self.engine.run(batch).sound.all():
            raise RuntimeError("a tick was not sound")


def mixed(rows: int) -> Counts:
    """[rows] lengths from 16 tokens to the longest, evenly apart; of one row the middle."""
    if rows == 1:
        return np.array([LONGEST // 2])
    return np.linspace(SHORT, LONGEST - 1, rows).astype(np.int64)


def decoders(site: Site) -> list[Figure]:
    """Leaves the curves and a picture of them in the folder of pictures."""
    file = reference_decoder(site.results / "attention" / "models")
    ticks = Ticks(file)
    equal: Curve = {rows: [cost(site, ticks, np.full(rows, past)) for past in PASTS] for rows in ROWS}
    growing = [cost(site, ticks, mixed(rows)) for rows in MIXED]
    (site.pictures / POINTS).write_text(json.dumps({"equal": equal, "mixed": growing}) + "\n")
    picture(equal, growing, site.pictures / PICTURE)
    curves = [_curve(rows, costs) for rows, costs in equal.items()] + [_mixed(growing)]
    parts = [against_parts(site, file, ticks, rows, bound) for rows, bound in ((8, None), (MOST, OF_PARTS))]
    return [*curves, *parts, memory(file), *beside(site, file), *stalls(site, file)]


def cost(site: Site, ticks: Ticks, past: Counts) -> float:
    """CPU seconds of a tick."""
    tick = ticks.of(past)
    tick()  # cells are moved into their rows, and the call is prepared
    with pinned(site.server_core):
        found = median(tick() for _ in range(TICKS))
    ticks.forget(len(past))
    return found


def against_parts(site: Site, file: Path, ticks: Ticks, rows: int, bound: float | None) -> Figure:
    """All three in turn, round by round."""
    past = mixed(rows)
    parts = ticks.of(past), linear(file, rows), Operator(file, past)
    for part in parts:
        part()
    rounds = site.repeat(lambda: [median(part() for _ in range(TICKS)) for part in parts])
    ticks.forget(rows)
    ratio = median(whole / (layers + attention) for whole, layers, attention in rounds)
    whole, layers, attention = (1e3 * median(column) for column in zip(*rounds, strict=True))
    note = f"{whole:.2f} ms; linear layers alone {layers:.2f}, attention alone {attention:.2f}"
    return Figure(f"a tick of {rows} sequences, 16 to 2,048 tokens", ratio, "x its parts", bound, note=note)


def memory(file: Path) -> Figure:
    """By how much sequences of 16 tokens make the process larger. As many before them made what else a tick needs."""
    ticks, half = Ticks(file), MOST // 2
    ticks.begin(np.arange(1, half + 1), SHORT)
    short = _larger(lambda: ticks.begin(np.arange(half + 1, MOST + 1), SHORT)) / half
    long, cells = _larger(lambda: ticks.grow(MOST + 1)), SHORT * ticks.engine.cell_bytes
    note = f"{short / 1024:,.0f} KiB each, of cells {cells / 1024:,.0f}; one of 2,047 tokens {long / 2**20:.1f} MiB"
    return Figure("memory of sequences of 16 tokens", short / cells, "x their cells", OF_CELLS, note=note)


def _larger(work: Callable[[], None]) -> int:
    """By so many bytes this process is larger after it."""
    before = resident(os.getpid())
    work()
    return resident(os.getpid()) - before


def _curve(rows: int, costs: Sequence[float]) -> Figure:
    told = ", ".join(f"{past + 1:,}: {number(1e3 * c)}" for past, c in zip(PASTS, costs, strict=True))
    return Figure(f"a tick of {rows} rows, 2,048 tokens", 1e3 * costs[-1], "ms", note=f"by tokens, ms: {told}")


def _mixed(costs: Sequence[float]) -> Figure:
    told = ", ".join(f"{rows}: {number(1e3 * c)}" for rows, c in zip(MIXED, costs, strict=True))
    return Figure(f"a tick of {MOST} rows, 16 to 2,048 tokens", 1e3 * costs[-1], "ms", note=f"by rows, ms: {told}")


def picture(equal: Curve, growing: Sequence[float], file: Path) -> None:
    """Milliseconds of a tick, over the tokens behind its rows, and over rows of mixed lengths."""
    drawn = Picture(figsize=(11, 4), layout="constrained")
    by_tokens, by_rows = drawn.subplots(1, 2)
    for rows, costs in equal.items():
        by_tokens.loglog([past + 1 for past in PASTS], [1e3 * c for c in costs], marker="o", label=f"{rows} rows")
    by_rows.loglog(MIXED, [1e3 * c for c in growing], marker="o")
    for axes, label, places in (
        (by_tokens, "tokens of each row", [past + 1 for past in PASTS]),
        (by_rows, "rows of 16 to 2,048 tokens", MIXED),
    ):
        axes.set(xlabel=label, ylabel="CPU time of a tick, ms")
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    by_tokens.legend()
    drawn.savefig(file, dpi=80)
