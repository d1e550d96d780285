"""Memory of caches: one arena for each tensor, of which the system gives a page when a cell on it is first written.

The kernel's pages are the blocks of what others call paged attention: 16 cells of a head of 64 lie on one, so that a
short sequence pays for its own cells only, and a row is contiguous all the same. Sequences that are not being stepped
may lie in ordinary memory, exactly as long as they are.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnxruntime as ort

from headrace.errors import ConfigurationError

from ..prepared import KEPT
from ..steps import Array
from .kinds import BYTES, Kind, Layout

NO_RESERVE = 0x4000
"""MAP_NORESERVE of Linux, which Python names from 3.13 on: what is never written counts nowhere."""

Counts = Sequence[int]
"""Cells in use, of each kind."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A sequence's cells, [heads, cells, width] of each tensor. Never changed, so that forks may share it."""

    cells: tuple[Array, ...]


class Tensor:
    """One arena, [rows, heads, room, width]."""

    def __init__(self, name: str, kind: Kind, rows: int) -> None:
        self.name, self.filled = name, kind.filled
        shape = (rows, kind.heads, kind.room, kind.width)
        self._row = prod(shape[1:]) * BYTES
        self._memory = _pages(rows * self._row)
        self.cells: Array = np.frombuffer(self._memory, np.float32).reshape(shape)

    def give_back(self, row: int) -> None:
        """Its pages are the system's again; it gives zeros when they are next read."""
        if isinstance(self._memory, mmap.mmap):
            self._memory.madvise(mmap.MADV_DONTNEED, row * self._row, self._row)


class Cells:
    """The arenas of all caches: of each in turn its keys, then its values. Mutable: the cells, and `_ranges` so far."""

    def __init__(self, layout: Layout, rows: int) -> None:
        """Raises ConfigurationError if there is not so much room for addresses."""
        try:
            self.tensors = tuple(
                Tensor(name, layout.kind(number), rows)
                for number, cache in enumerate(layout.caches)
                for name in (cache.keys, cache.values)
            )
        except OSError as error:
            raise ConfigurationError(
                f"no room for the caches of {rows} sequences ({error}); choose fewer rows"
            ) from error
        self._kinds = tuple(kind for kind in layout.of for _ in range(2))
        self._ranges: dict[tuple[int, int], list[tuple[Tensor, ort.OrtValue]]] = {}

    def range(self, first: int, stop: int) -> list[tuple[Tensor, ort.OrtValue]]:
        """Each tensor, and its rows from `first` to `stop` as the runtime takes them, in place; ranges recur."""
        if (first, stop) not in self._ranges:
            if len(self._ranges) == KEPT:
                self._ranges.clear()
            rows = [(tensor, tensor.cells[first:stop]) for tensor in self.tensors]
            self._ranges[first, stop] = [(t, ort.OrtValue.ortvalue_from_numpy(cells)) for t, cells in rows]
        return self._ranges[first, stop]

    def taken(self, row: int, counts: Counts) -> Parked:
        """A copy of its first cells."""
        pairs = zip(self.tensors, self._kinds, strict=True)
        return Parked(tuple(tensor.cells[row, :, : counts[kind]].copy() for tensor, kind in pairs))

    def put(self, row: int, parked: Parked, counts: Counts) -> None:
        """As many of the parked cells as are in use; there may be more."""
        for tensor, kind, cells in zip(self.tensors, self._kinds, parked.cells, strict=True):
            if count := counts[kind]:
                tensor.cells[row, :, :count] = cells[:, :count]

    def move(self, row: int, kind: int, begin: int, count: int) -> None:
        """The cells from `begin` on become the first ones."""
        for tensor, of in zip(self.tensors, self._kinds, strict=True):
            if of == kind:
                tensor.cells[row, :, :count] = tensor.cells[row, :, begin : begin + count].copy()

    def finite(self, row: int, kind: int, begin: int, end: int) -> bool:
        """Whether all cells from `begin` to `end` are."""
        own = (
            tensor.cells[row, :, begin:end] for tensor, of in zip(self.tensors, self._kinds, strict=True) if of == kind
        )
        return all(bool(np.isfinite(cells).all()) for cells in own)

    def give_back(self, row: int) -> None:
        for tensor in self.tensors:
            tensor.give_back(row)


def cut(parked: Parked, layout: Layout, counts: Counts) -> Parked:
    """The first cells alone."""
    kinds = (kind for kind in layout.of for _ in range(2))
    return Parked(tuple(cells[:, : counts[kind]] for cells, kind in zip(parked.cells, kinds, strict=True)))


def _pages(size: int) -> mmap.mmap | bytearray:
    if sys.platform != "linux":
        return bytearray(size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory
