"""Sequences cut into steps, and any model or graph driven over them: what every parity case is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.ragged import spans, starts
from headrace.spec import LENGTHS, Input, ModelSpec, State

Named = dict[str, NDArray[np.generic]]
Runner = Callable[[Named], Named]
"""Graph inputs by name → graph outputs by name."""

Draw = Callable[[Input, int, np.random.Generator], NDArray[Any]]
"""An input and a number of tokens → random values that the model takes, [tokens, *shape]."""

Rows = NDArray[np.int64]
Cut = Callable[[Rows], tuple[Rows, Rows]]
"""Time steps left of each row, [rows] → the rows that are stepped next, and how far each: both [chosen]."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole sequences, packed: inputs by name, each [tokens, *shape], and lengths [rows]."""

    inputs: Named
    lengths: Rows

    def row(self, token: int) -> tuple[int, int]:
        """The row to which a token belongs, and its place in it."""
        row = int(np.searchsorted(np.cumsum(self.lengths), token, side="right"))
        return row, token - int(starts(self.lengths)[row])


@dataclass(frozen=True, slots=True)
class Grid:
    """For each size in `sizes`: enough batches of that many rows to hold every length from 1 to `longest`."""

    sizes: tuple[int, ...] = (1, 2, 7, 64)
    longest: int = 50
    draw: Draw = Input.sample

    def batches(self, spec: ModelSpec, rng: np.random.Generator) -> Iterator[Batch]:
        longest = min(self.longest, spec.chunk.longest) if spec.chunk.whole else self.longest
        for size in self.sizes:
            every = rng.permutation(longest) + 1
            more = rng.integers(1, longest + 1, -longest % size)
            for lengths in np.concatenate([every, more]).reshape(-1, size):
                yield Batch({i.name: self.draw(i, int(lengths.sum()), rng) for i in spec.inputs}, lengths)


def alone(left: Rows) -> tuple[Rows, Rows]:
    """One row after the other, each whole."""
    row = np.flatnonzero(left)[:1]
    return row, left[row]


def whole(left: Rows) -> tuple[Rows, Rows]:
    """All rows at once, each whole."""
    live = np.flatnonzero(left)
    return live, left[live]


def single(left: Rows) -> tuple[Rows, Rows]:
    """All rows, one time step at a time; the short ones drop out."""
    live = np.flatnonzero(left)
    return live, np.ones_like(live)


def chunks(rng: np.random.Generator) -> Cut:
    """Some of the rows in some order, each by a chunk of some length."""

    def cut(left: Rows) -> tuple[Rows, Rows]:
        live = np.flatnonzero(left)
        chosen = rng.choice(live, rng.integers(1, len(live) + 1), replace=False)
        return chosen, rng.integers(1, left[chosen] + 1)

    return cut


def bounded(cut: Cut, longest: int) -> Cut:
    """The same, but that no step is longer than the model takes."""

    def shorter(left: Rows) -> tuple[Rows, Rows]:
        chosen, lengths = cut(left)
        return chosen, np.minimum(lengths, longest)

    return shorter


def drive(run: Runner, spec: ModelSpec, batch: Batch, cut: Cut) -> Named:
    """Streams all of `batch` through `run` in steps as `cut` says, carrying the state from step to step.

    Returns each output, [tokens, *shape] in the batch's own order or [rows, *shape] of each row's last step, and each
    state's output after each row's last step, [rows, *shape].
    """
    rows, done = len(batch.lengths), np.zeros_like(batch.lengths)
    states: Named = {s.input: initial(s, rows) for s in spec.states}
    results: Named = {}
    while (left := batch.lengths - done).any():
        chosen, lengths = cut(left)
        tokens = spans(starts(batch.lengths)[chosen] + done[chosen], lengths)
        feed = {name: values[tokens] for name, values in batch.inputs.items()}
        got = run(feed | {LENGTHS: lengths} | {name: values[chosen] for name, values in states.items()})
        for output in spec.outputs:
            _place(
                results,
                output.name,
                got[output.name],
                *((tokens, int(batch.lengths.sum())) if output.time else (chosen, rows)),
            )
        for state in spec.states:
            states[state.input][chosen] = got[state.output]
        done[chosen] += lengths
    return results | {s.output: states[s.input] for s in spec.states}


def initial(state: State, rows: int) -> NDArray[np.generic]:
    """The state of `rows` fresh sequences, [rows, *shape]."""
    return np.repeat(state.cells()[None], rows, axis=0)


def _place(results: Named, name: str, values: NDArray[np.generic], index: Rows, size: int) -> None:
    if name not in results:
        results[name] = np.zeros((size, *values.shape[1:]), values.dtype)
    results[name][index] = values
