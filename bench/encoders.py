"""Encoders served by token budget, similar lengths together, on one thread: against the same weights in a padded graph,
and against the runtime alone on the very batches that the scheduler made.

All by CPU time and in one process, both sides in turns. A padded graph is fed by whoever has its rows ready: what it
costs to pad them is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from headrace.spec import LENGTHS

from .encoder import packed_graph, padded_graph
from .figures import Figure
from .one_long import one_long
from .site import Site
from .stateless import Hand, Limits, Rows, found
from .two_lanes import two_lanes

#: Lengths are uniform from 1 to this.
LONGEST = 128
MEAN = (1 + LONGEST) / 2

#: Sequences of a round for a second of a turn, all of which wait from the beginning; and of a frame.
SEQUENCES, FRAME = 24, 64

#: Rows in a batch of the padded graph; and on average of ours.
BATCHES = (1, 2, 4, 8, 16, 32)

#: Of these the most of which a batch of ours takes no longer than the server allows any batch, 50 ms.
COMMON = 8
LEAST, LEAST_OF_BARE = 1.6, 0.9


class Sizes(NamedTuple):
    """CPU seconds of a sequence at one number of rows in a batch, on average in ours."""

    ours: float
    arrival: float
    sorted: float


class Served(NamedTuple):
    """CPU seconds of a sequence with the measured limits, and of the runtime alone on the same batches."""

    ours: float
    bare: float


class Round(NamedTuple):
    """sizes: by rows in a batch, as BATCHES."""

    sizes: tuple[Sizes, ...]
    served: Served


class Runtime:
    """ONNX Runtime by itself on one thread."""

    def __init__(self, file: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def seconds(self, feed: dict[str, NDArray[Any]]) -> float:
        """CPU seconds of one run."""
        began = time.thread_time()
        self._session.run(None, feed)
        return time.thread_time() - began


@dataclass(frozen=True, slots=True)
class Sides:
    hand: Hand
    bare: Runtime
    padded: Runtime
    limits: Limits

    def round(self, sequences: int) -> Round:
        """The same sequences every time: what differs is the machine's."""
        lengths = np.random.default_rng(1).integers(1, LONGEST + 1, sequences)
        sizes = tuple(self.sizes(lengths, rows) for rows in BATCHES)
        return Round(sizes, self.ours(lengths, self.limits.rows, self.limits.tokens))

    def sizes(self, lengths: Rows, rows: int) -> Sizes:
        ours = self.ours(lengths, self.limits.most_rows, round(rows * MEAN)).ours
        return Sizes(ours, self.apart(lengths, rows), self.apart(np.sort(lengths), rows))

    def ours(self, lengths: Rows, rows: int, tokens: int) -> Served:
        """CPU seconds of a sequence in the lane, and of the runtime alone on the same batches, each right behind it."""
        self.hand.limit(rows, tokens)
        for first in range(0, len(lengths), FRAME):
            frame = lengths[first : first + FRAME]
            self.hand.post(np.arange(first, first + len(frame)), frame)
        ours, bare, answered = self.hand.tick(), self._again(), len(self.hand.told)
        while self.hand.busy:
            ours, bare, answered = ours + self.hand.tick(), bare + self._again(), answered + len(self.hand.told)
        if answered != len(lengths):
            raise RuntimeError(f"{answered} of {len(lengths)} rows were answered")
        return Served(ours / len(lengths), bare / len(lengths))

    def _again(self) -> float:
        batch = self.hand.engine.last
        assert batch is not None, "a tick has a batch"
        (values,) = batch.values
        return self.bare.seconds({self.hand.spec.inputs[0].name: values, LENGTHS: batch.lengths})

    def apart(self, lengths: Rows, rows: int) -> float:
        """CPU seconds of a sequence in the padded graph, so many rows a batch, in this order."""
        batches = [lengths[first : first + rows] for first in range(0, len(lengths), rows)]
        return sum(self.padded.seconds(self._padded(batch)) for batch in batches) / len(lengths)

    def _padded(self, lengths: Rows) -> dict[str, NDArray[Any]]:
        mask = np.arange(lengths.max()) < lengths[:, None]  # [rows, time]
        (given,) = self.hand.spec.inputs
        values = given.sample(mask.size, self.hand.rng).reshape(*mask.shape, *given.shape)
        return {"values": values, "mask": mask}


def encoders(site: Site) -> list[Figure]:
    file = packed_graph(site.results / "models")
    limits = found(file)
    sides = Sides(Hand.of(file, limits), Runtime(file), Runtime(padded_graph(site.results / "padded")), limits)
    sides.round(8)  # memory is there, and all is loaded
    rounds = site.repeat(partial(sides.round, max(16, round(SEQUENCES * site.seconds))))
    return [*figures(rounds, limits.tokens), *one_long(site, file, limits), *two_lanes(site, file, limits)]


def figures(rounds: Sequence[Round], tokens: int) -> list[Figure]:
    """tokens: the most time steps in a batch, as measured."""
    return [_common(rounds), _alone(rounds), _of_bare(rounds, tokens)]


def _ratio(rounds: Sequence[Round], rows: int, of: Callable[[Sizes], float]) -> float:
    """How many times our cost at so many rows a batch it is."""
    at = BATCHES.index(rows)
    return median(of(r.sizes[at]) / r.sizes[at].ours for r in rounds)


def _rates(rounds: Sequence[Round], of: Callable[[Sizes], float]) -> str:
    """Sequences a second, by BATCHES."""
    return ", ".join(f"{1 / median(of(r.sizes[at]) for r in rounds):.0f}" for at in range(len(BATCHES)))


def _common(rounds: Sequence[Round]) -> Figure:
    """At as many rows a batch on both sides, and beside it all other numbers of them."""
    rows, alike = ", ".join(map(str, BATCHES)), _ratio(rounds, COMMON, lambda size: size.sorted)
    return Figure(
        f"sequences/s, {COMMON} rows a batch, against the padded graph in arrival order",
        _ratio(rounds, COMMON, lambda size: size.arrival),
        "x",
        LEAST,
        at_least=True,
        note=f"sequences/s with {rows} rows a batch: {_rates(rounds, lambda size: size.ours)}; padded "
        f"{_rates(rounds, lambda size: size.arrival)}; padded and sorted {_rates(rounds, lambda size: size.sorted)} "
        f"({alike:.2f} x at {COMMON})",
    )


def _alone(rounds: Sequence[Round]) -> Figure:
    """A row alone has no padding: where one row keeps a core busy, a padded graph is best served so."""
    best = [max(1 / size.ours for size in r.sizes) * min(size.arrival for size in r.sizes) for r in rounds]
    return Figure("the same, each side at its own best", median(best), "x", note="padded, that is one row a batch")


def _of_bare(rounds: Sequence[Round], tokens: int) -> Figure:
    ours, bare = (1e3 * median(times) for times in zip(*(r.served for r in rounds), strict=True))
    return Figure(
        "scheduler, lane and engine against the runtime alone on the same batches",
        median(r.served.bare / r.served.ours for r in rounds),
        "of bare",
        LEAST_OF_BARE,
        at_least=True,
        note=f"{ours:.2f} and {bare:.2f} ms a sequence; measured limit {tokens} time steps a batch",
    )
