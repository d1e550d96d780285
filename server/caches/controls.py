"""What a tick tells the graph of its rows: which they are, how far each is filled, where its new cells lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from headrace.ragged import spans
from headrace.spec import PAST

from ..prepared import Parts
from ..steps import Array, Rows
from .cells import Cells
from .kinds import Kind, Layout
from .rewrite import (
    BEGIN,
    END,
    IDLE,
    LOW,
    NEW,
    QUERIES,
    SINGLES,
    SUMS,
    TURNS,
    arena_between,
    arena_in,
    arena_out,
    of_asked,
    of_kind,
)
from .tail import ASKED

Place = tuple[np.dtype[np.generic], tuple[int, ...]]
"""dtype and shape."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of hot rows, and rows of these lengths in it: those of one token first. What a call is bound for.

    asked: of so many of each row's last tokens outputs come, [rows]; of one token in all at least.
    """

    cells: Cells
    layout: Layout
    counts: tuple[str, ...]  # those of PAST and FILLED that the graph takes
    lengths: Rows
    asked: Rows
    singles: int
    first: int
    stop: int

    @property
    def key(self) -> bytes:
        return b"%d %d" % (self.first, self.stop) + self.asked.tobytes()

    @property
    def dense(self) -> bool:
        """Whether each row of the range has one token."""
        return self.singles == self.stop - self.first

    def outputs(self, tokens: int) -> int:
        return int(self.asked.sum())

    @property
    def asked_chunks(self) -> NDArray[np.bool_]:
        """[chunks] whether anything of them is asked for."""
        return self.asked[self.singles :] > 0

    def bind(self, binding: ort.IOBinding) -> None:
        for tensor, cells in self.cells.range(self.first, self.stop):
            binding.bind_ortvalue_input(arena_in(tensor.name), cells)
            binding.bind_ortvalue_output(arena_out(tensor.name), cells)
            if not tensor.filled:
                binding.bind_ortvalue_output(arena_between(tensor.name), cells)

    def given(self) -> Parts:
        rows, chunks = (self.stop - self.first,), len(self.lengths) - self.singles
        asked, behind = int(self.asked[: self.singles].sum()), int(self.asked_chunks.sum())
        names: list[tuple[str, tuple[int, ...]]] = [(name, (len(self.lengths),)) for name in self.counts]
        names += [(QUERIES, (*rows, 1)), (NEW, (*rows, 1)), (SINGLES, (self.singles,)), (LOW, (chunks, 2))]
        names += [(of_asked(SINGLES), (asked,)), (of_asked(LOW), (behind, 2))]
        parts: list[tuple[str, Place]]
        parts = [(name, (np.dtype(np.int64), shape)) for name, shape in names]
        for number, kind in enumerate(self.layout.kinds):
            parts += [(of_kind(number, what), cells) for what, cells in self._of_kind(kind).items()]
        return parts

    def _of_kind(self, kind: Kind) -> dict[str, Place]:
        whole: np.dtype[np.generic] = np.dtype(np.int64)
        small: np.dtype[np.generic] = np.dtype(np.int32)
        rows, chunks, tokens = self.stop - self.first, len(self.lengths) - self.singles, int(self.lengths.sum())
        parts = {"last": (small, (rows,)), "total": (small, ()), "high": (whole, (chunks, 2))}
        parts[of_asked("high")] = (whole, (int(self.asked_chunks.sum()), 2))
        if kind.filled:
            return parts | {"own": (whole, (rows, kind.heads, 1))}
        return parts | {"cells": (whole, (tokens - self.singles, kind.heads, 3)), "place": (whole, (tokens,))}

    def fixed(self) -> Mapping[str, Array]:
        ends, turns = np.cumsum(self.lengths), np.arange(int(self.lengths.sum()))[None]
        idle = np.array([0 if self.dense else self.stop - self.first, 1])
        fixed = {IDLE: idle, TURNS: turns, ASKED: spans(ends - self.asked, self.asked)}
        chunks = np.arange(self.singles, len(ends))
        for told, count, which in ((str, self.lengths, chunks), (of_asked, self.asked, chunks[self.asked_chunks])):
            fixed |= {told(BEGIN): (ends - count)[which, None], told(END): ends[which, None]}
        return fixed

    def results(self) -> Parts:
        if PAST not in self.counts:
            return []
        return [(SUMS, (np.dtype(np.float32), (int(self.lengths.sum()),)))]


def fill(into: Mapping[str, Array], span: Span, rows: Rows, past: Rows, filled: Rows, base: Rows) -> None:
    """rows [rows] of the range; past, filled [rows]: cells in use; base [kinds, rows]: of which so many are gone.

    Raises ValueError for a row that has no room for its new cells.
    """
    singles = rows[: span.singles]
    for name in span.counts:
        into[name][:] = past if name == PAST else filled
    _pick(into, span, singles)
    into[SINGLES][:], into[of_asked(SINGLES)][:] = singles, singles[span.asked[: span.singles] > 0]
    for number, kind in enumerate(span.layout.kinds):
        used = filled if kind.filled else past - base[number]
        ends = used if kind.filled else used + span.lengths
        if ends.max() > kind.room:
            raise ValueError(f"a sequence has no room for {ends.max()} cells")
        last = into[of_kind(number, "last")]
        if not span.dense:
            last[:] = 0
        last[singles] = ends[: span.singles] - 1
        into[of_kind(number, "total")][...] = last.max() + 1
        if kind.filled:
            into[of_kind(number, "own")][:] = last[:, None, None]
        else:
            into[of_kind(number, "place")][:] = spans(used, span.lengths) if len(rows) > span.singles else used
        if len(rows) > span.singles:
            _chunks(into, number, span, rows[span.singles :], ends[span.singles :])


def _pick(into: Mapping[str, Array], span: Span, singles: Rows) -> None:
    queries, new = into[QUERIES][:, 0], into[NEW][:, 0]
    if not span.dense:
        queries[:] = 0
        new[:] = np.arange(len(new)) + int(span.lengths.sum())
    queries[singles] = new[singles] = np.arange(span.singles)


def _chunks(into: Mapping[str, Array], number: int, span: Span, rows: Rows, ends: Rows) -> None:
    """Which cells each chunk looks at, and where its new ones lie."""
    low, high = into[LOW], into[of_kind(number, "high")]
    low[:, 0], low[:, 1] = rows, 0
    high[:, 0], high[:, 1] = rows + 1, ends
    into[of_asked(LOW)][:], into[of_asked(of_kind(number, "high"))][:] = low[span.asked_chunks], high[span.asked_chunks]
    if not span.layout.kinds[number].filled:
        cells = into[of_kind(number, "cells")]  # [tokens of chunks, heads, 3]
        cells[..., 0] = np.repeat(rows, span.lengths[span.singles :])[:, None]
        cells[..., 1] = np.arange(cells.shape[1])
        cells[..., 2] = into[of_kind(number, "place")][span.singles :, None]
