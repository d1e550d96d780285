"""What a tick of one token for each row of its range tells the graph of them: how far each is filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from headrace.spec import PAST

from ..prepared import Parts
from ..steps import Array, Rows
from .cells import Cells
from .controls import Place
from .dense import PADS, ROWS
from .kinds import Layout
from .rewrite import SUMS, TURNS, arena_in, arena_out, of_kind


@dataclass(frozen=True, slots=True)
class Range:
    """Hot rows from `first` to `stop`, each with one token. What a call is bound for."""

    cells: Cells
    layout: Layout
    counts: tuple[str, ...]  # those of PAST and FILLED that the graph takes
    first: int
    stop: int

    @property
    def key(self) -> bytes:
        return b"%d" % self.first

    @property
    def width(self) -> int:
        """Of `given`, how many there are."""
        return len(self.counts) + 1 + sum(3 if kind.filled else 2 for kind in self.layout.kinds)

    def outputs(self, tokens: int) -> int:
        return tokens

    def bind(self, binding: ort.IOBinding) -> None:
        for tensor, cells in self.cells.range(self.first, self.stop):
            binding.bind_ortvalue_input(arena_in(tensor.name), cells)
            binding.bind_ortvalue_output(arena_out(tensor.name), cells)

    def given(self) -> Parts:
        """The counts, PADS, and of each kind `last` and `total`, of a filled one `own`."""
        rows, whole, small = self.stop - self.first, np.dtype(np.int64), np.dtype(np.int32)
        parts: list[tuple[str, Place]] = [(name, (whole, (rows,))) for name in self.counts]
        parts.append((PADS, (whole, (4,))))
        for number, kind in enumerate(self.layout.kinds):
            parts.append((of_kind(number, "last"), (small, (rows,))))
            parts.append((of_kind(number, "total"), (small, ())))
            if kind.filled:
                parts.append((of_kind(number, "own"), (whole, (rows, kind.heads, 1))))
        return parts

    def fixed(self) -> Mapping[str, Array]:
        place = np.arange(self.stop - self.first)
        return {ROWS: place[:, None], TURNS: place[None]}

    def results(self) -> Parts:
        return [(SUMS, (np.dtype(np.float32), (self.stop - self.first,)))] if PAST in self.counts else []


def tell(into: Sequence[Array], range_: Range, past: Rows, filled: Rows, base: Rows) -> None:
    """into: what `Range.given` says, in that order. past, filled [rows]: cells in use; base [kinds, rows]: gone.

    Raises ValueError for a row that has no room for its new cell.
    """
    places, longest = iter(into), 0
    for name in range_.counts:
        next(places)[:] = past if name == PAST else filled
    pads = next(places)
    for number, kind in enumerate(range_.layout.kinds):
        last, total = next(places), next(places)
        last[:] = filled - 1 if kind.filled else past - base[number] if kind.window else past
        most = int(last.max()) + 1
        if most > kind.room:
            raise ValueError(f"a sequence has no room for {most} cells")
        total[...] = most
        if kind.filled:
            next(places)[:] = last[:, None, None]
        else:
            longest = max(longest, most)
    pads[:] = 0
    pads[2] = max(0, longest - len(past))
