"""A batch on its way through the engine, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.ragged import spans
from headrace.spec import Output

from .hot import hot
from .sequences import FRESH, FreeList, Sequences
from .steps import STATELESS, Array, Outputs, Rows, Steps, columns, pack, pack_values, single


class Grown(NamedTuple):
    """Of rows of a model with caches, [rows]: the numbers of their sequences, and the time steps before these."""

    numbers: Rows
    past: Rows

    def part(self, rows: slice) -> Grown:
        return Grown(self.numbers[rows], self.past[rows])


@hot
class Batch:
    """Ragged rows, and where in the arenas their states are read and written.

    values [tokens, ...] each; lengths, read, write [rows] int64; fresh [rows] bool: starts from the initial state,
    whatever `read` says. grown: where the model has caches. asked [rows]: of so many time steps, each row's last ones,
    or none, outputs are asked for; None for all.
    """

    values: tuple[Array, ...]
    lengths: Rows
    read: Rows
    write: Rows
    fresh: NDArray[np.bool_]
    grown: Grown | None = None
    asked: Rows | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        return f"Batch(rows={len(self)}, tokens={int(self.lengths.sum())})"

    @property
    def given(self) -> Rows:
        """[rows] of so many time steps outputs come."""
        return self.lengths if self.asked is None else self.asked

    def outputs(self, cells: Iterable[Array], timed: tuple[bool, ...]) -> Outputs:
        """What is asked for of what the model gave, copied: cells [tokens, ...] where `timed`, else [rows, ...]."""
        if self.asked is None:
            return Outputs(tuple([y.copy() for y in cells]), timed, self.lengths)
        at = last_tokens(self.lengths, self.asked)
        return Outputs(tuple([y[at] if t else y.copy() for y, t in zip(cells, timed, strict=True)]), timed, self.asked)

    def halves(self) -> tuple[Batch, Batch]:
        """The first and the second half of the rows; at least two rows."""
        middle = len(self) // 2
        tokens = int(self.lengths[:middle].sum())
        first, second = (slice(None, middle), slice(None, tokens)), (slice(middle, None), slice(tokens, None))
        return self._part(*first), self._part(*second)

    def _part(self, rows: slice, tokens: slice) -> Batch:
        values = tuple(v[tokens] for v in self.values)
        grown = None if self.grown is None else self.grown.part(rows)
        asked = None if self.asked is None else self.asked[rows]
        return Batch(values, self.lengths[rows], self.read[rows], self.write[rows], self.fresh[rows], grown, asked)


@hot
class Outcome:
    """sound [rows]: whether the row ran and its new state is finite; compute_cpu: CPU seconds inside the runtime;
    calls: of it, by which each row went on."""

    outputs: Outputs
    sound: NDArray[np.bool_]
    compute_cpu: float = 0.0
    calls: int = 1


def blank(outputs: Sequence[Output], lengths: Rows) -> Outputs:
    """Zeros in the shape of a model's outputs for rows of these lengths."""
    tokens, rows = int(lengths.sum()), len(lengths)
    cells = tuple(np.zeros((tokens if o.time else rows, *o.shape), o.dtype) for o in outputs)
    return Outputs(cells, tuple(o.time for o in outputs), lengths)


def join(first: Outcome, second: Outcome) -> Outcome:
    """The outcome of the halves of a batch."""
    a, b = first.outputs, second.outputs
    cells = tuple(np.concatenate(pair) for pair in zip(a.cells, b.cells, strict=True))
    outputs = Outputs(cells, a.timed, np.concatenate([a.lengths, b.lengths]))
    return Outcome(outputs, np.concatenate([first.sound, second.sound]), first.compute_cpu + second.compute_cpu)


def last_tokens(lengths: Rows, count: Rows) -> Rows:
    """The indices, in packed values of `lengths`, of so many last time steps of each row: [tokens']."""
    return spans(np.cumsum(lengths) - count, count)


def assemble(pieces: Sequence[Steps], sequences: Sequences, slots: FreeList, *, caches: bool = False) -> Batch:
    """Joins the pieces and takes a free slot for each row to be written to: an arena has a batch of spare ones.

    caches: whether the model has some.
    """
    (numbers, lengths), values = columns(pieces, "numbers", "lengths"), pack_values(pieces)
    few = True in [piece.last_only for piece in pieces] and not single(lengths)
    asked = pack(pieces, "asked") if few else None
    if numbers[0] == STATELESS:
        none = np.zeros(len(numbers), np.int64)
        return Batch(values, lengths, none, none, none.astype(np.bool_), asked=asked)
    read = sequences.slot[numbers]
    fresh = read == FRESH
    # The slots are taken last, for then nothing can fail that would have to give them back.
    grown = Grown(numbers, sequences.position[numbers]) if caches else None
    return Batch(values, lengths, read, slots.take(len(numbers)), fresh, grown, asked)
