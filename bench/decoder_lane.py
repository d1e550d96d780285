"""What a lane that writes texts costs beside the runtime, and what a long prompt costs the texts beside it.

A lane by itself, on one thread and without a wire.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from math import inf
from pathlib import Path
from statistics import median

import numpy as np

from headrace.contract import read_model
from headrace.server.caches.engine import CachedEngine
from headrace.server.calibration import with_caches
from headrace.server.commands import Barrier, Generate, Prompt, Sampling
from headrace.server.journal import NoJournal
from headrace.server.lane import Lane
from headrace.server.metrics import Metrics
from headrace.server.settings import Settings
from headrace.server.steps import Answer, Answers, Wrote

from .attention.workload import prompts
from .decoder_parts import timed
from .figures import Figure
from .site import Site

#: Tokens of the long prompt; texts beside it; ticks of which the undisturbed one is the middle.
LONG, RUNNING, TICKS = (512, 1024), 31, 15

#: Texts of ticks whose cost outside the runtime is told; tokens of each, first to warm up.
TEXTS, WARM, COUNTED = (1, 8, 32), 20, 300

#: A running text waits for no more than one tick of the prompts' budget.
MOST = 1.0

Times = tuple[float, float, float]
"""CPU seconds: of an undisturbed tick, of the longest beside a long prompt, and of the longest of that prompt alone."""


class Caller:
    """Whose texts are written. Mutable: `wrote`, the tokens of each text so far."""

    def __init__(self) -> None:
        self.wrote: dict[int, int] = {}

    def deliver(self, answer: Answer) -> None:
        """The lane's answers end before they come here."""

    def hear(self, answer: Answer) -> None:
        """Raises RuntimeError if a text failed."""
        if not isinstance(answer, Wrote):
            raise RuntimeError(f"{answer}")
        for key, count in zip(answer.keys.tolist(), answer.lengths.tolist(), strict=True):
            self.wrote[key] = self.wrote.get(key, 0) + count


class Bench:
    """A lane that is driven by hand."""

    def __init__(self, file: Path) -> None:
        graph, spec = read_model(file)
        limits = with_caches(Settings(sequences=2 * RUNNING))
        engine = CachedEngine(graph, spec, limits.slots, "CPU", rows=limits.rows)
        self._meter = Metrics.unseen().lane(spec, "1", 0)
        self._lane = Lane(spec, "1", engine, NoJournal(), self._meter, limits, self._hear, time.monotonic)

    @property
    def calls(self) -> int:
        """Of the runtime so far."""
        return int(self._meter.histograms["batch_rows"].buckets()[-1][1])

    @property
    def computed(self) -> float:
        """CPU seconds of the runtime so far."""
        return self._meter.counters["compute_cpu_seconds"]

    def ask(self, texts: list[list[int]], most: int) -> Caller:
        """So many tokens to each prompt."""
        caller = Caller()
        made = tuple(Prompt(np.array(text), number=number) for number, text in enumerate(texts))
        self._lane.post(Generate(caller, made, 1, Sampling(), most, (), inf, time.monotonic()))
        return caller

    def tick(self) -> float:
        """CPU seconds of a turn with one call of the runtime: what waits lets no text go on by itself."""
        self._lane.admit(wait=False)
        self._lane.post(Barrier(lambda: None))
        return timed(self._lane.tick)

    def write(self) -> float:
        """CPU seconds until all texts have ended, in turns as long as they come."""
        spent = 0.0
        while self._lane.state.busy:
            spent += timed(self._turn)
        return spent

    def until(self, caller: Caller, texts: int) -> Iterator[float]:
        """Ticks until so many of a caller's texts have begun."""
        while len(caller.wrote) < texts:
            yield self.tick()

    def _turn(self) -> None:
        self._lane.admit(wait=False)
        self._lane.tick()

    def _hear(self, answers: Answers) -> None:
        for sink, answer in answers:
            assert isinstance(sink, Caller)
            sink.hear(answer)


def beside(site: Site, file: Path) -> list[Figure]:
    """What a tick of running texts costs outside the runtime."""
    return [_outside(rows, site.repeat(partial(outside, file, rows))) for rows in TEXTS]


def outside(file: Path, rows: int) -> tuple[float, float]:
    """CPU seconds of a call of the runtime for so many texts that are alone, outside of it and in all."""
    bench = Bench(file)
    running = bench.ask(prompts(rows), WARM + COUNTED)
    list(bench.until(running, rows))
    for _ in range(WARM):
        bench.tick()
    calls, computed, spent = bench.calls, bench.computed, bench.write()
    calls, computed = bench.calls - calls, bench.computed - computed
    return (spent - computed) / calls, spent / calls


def _outside(rows: int, rounds: list[tuple[float, float]]) -> Figure:
    own, whole = (1e3 * median(column) for column in zip(*rounds, strict=True))
    return Figure(f"a lane outside the runtime, {rows} texts", own, "ms a tick", note=f"of {whole:.2f} ms")


def stalls(site: Site, file: Path) -> list[Figure]:
    """Of each long prompt how much longer a running text waits for its next token, in ticks of that prompt alone."""
    return [figure(length, site.repeat(partial(one, file, length))) for length in LONG]


def one(file: Path, length: int) -> Times:
    """Raises RuntimeError if a running text had to wait for more than one tick."""
    bench, long = Bench(file), np.resize(prompts(1)[0], length).tolist()
    for _ in range(2):  # the first is to warm up
        alone = max(bench.until(bench.ask([long], 1), 1))
    running = bench.ask(prompts(RUNNING), length + TICKS + sum(map(len, prompts(RUNNING))))
    list(bench.until(running, RUNNING))
    usual = median(bench.tick() for _ in range(TICKS))
    before, ticks = dict(running.wrote), list(bench.until(bench.ask([long], 1), 1))
    if any(count - before[key] != len(ticks) for key, count in running.wrote.items()):
        raise RuntimeError("a text had to wait")
    return usual, max(ticks), alone


def figure(length: int, rounds: list[Times]) -> Figure:
    added = median((longest - usual) / alone for usual, longest, alone in rounds)
    usual, longest, alone = (1e3 * median(column) for column in zip(*rounds, strict=True))
    note = f"longest tick {longest:.1f} ms, without it {usual:.1f}; the prompt alone {alone:.1f} ms a tick"
    return Figure(f"a prompt of {length:,} beside {RUNNING} texts adds", added, "ticks", MOST, note=note)
