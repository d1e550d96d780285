"""Bytes of caches that a lane's sequences may have in all: asked for at admission, so that no tick lacks memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.spec import Cache, ModelSpec

from .steps import Array, Rows


class Budget:
    """What live sequences hold, by their numbers: cells of as many time steps as are admitted, and of their sources.

    Columns are [sequences]. A window holds what its next token sees, and a step more, however long its sequence.
    Mutable: `total`, `_steps`, time steps that count of each sequence, and `_source`, bytes of its source's cells.
    """

    def __init__(self, spec: ModelSpec, sequences: int, most: int) -> None:
        grown = [cache for cache in spec.caches if not cache.filled]
        self.most, self.total, self._needed = most, 0, bool(spec.caches)
        self._step = sum(map(cell_bytes, grown))
        self._source_step = sum(cell_bytes(cache) for cache in spec.caches if cache.filled)
        self._longest = spec.longest or max(
            ((cache.window or 1) - 1 + spec.chunk.longest for cache in grown), default=0
        )
        self._steps = np.zeros(sequences if self._needed else 0, np.int64)
        self._source = np.zeros(sequences if self._needed else 0, np.int64)

    def __repr__(self) -> str:
        return f"Budget(total={self.total}, most={self.most})"

    def grow(self, numbers: Array, ends: Rows) -> NDArray[np.bool_]:
        """[rows] which of these different sequences may become so many time steps long, in order; those do."""
        if not self._needed:
            return np.ones(len(numbers), np.bool_)
        more = np.maximum(np.minimum(ends, self._longest) - self._steps[numbers], 0) * self._step
        fits: NDArray[np.bool_] = np.cumsum(more) <= self.most - self.total
        self._count(numbers[fits], ends[fits])
        return fits

    def grow_all(self, numbers: Array, ends: Rows) -> bool:
        """Whether all of them may; if not, none does."""
        if not self._needed:
            return True
        more = int(np.add.reduce(np.minimum(ends, self._longest) - self._steps[numbers])) * self._step
        if more > self.most - self.total:
            return False
        self._count(numbers, ends)
        return True

    def shrink(self, numbers: Array, ends: Rows) -> None:
        """Steps of these sequences were not applied, they will end at `ends`."""
        if self._needed:
            self._count(numbers, ends)

    def has_room(self, length: int) -> bool:
        """Whether a source of so many time steps fits."""
        return length * self._source_step <= self.most - self.total

    def start(self, number: int, length: int) -> None:
        """The sequence holds such a source."""
        if self._needed:
            self._source[number] = length * self._source_step
            self.total += length * self._source_step

    def copy(self, number: int, others: Rows) -> bool:
        """Whether what a sequence holds can be had once more for each of the others; then they hold it."""
        if not self._needed:
            return True
        each = int(self._steps[number]) * self._step + int(self._source[number])
        if each * len(others) > self.most - self.total:
            return False
        self._steps[others], self._source[others] = self._steps[number], self._source[number]
        self.total += each * len(others)
        return True

    def drop(self, number: int) -> None:
        """The sequence is gone."""
        if self._needed:
            self.total -= int(self._steps[number]) * self._step + int(self._source[number])
            self._steps[number] = self._source[number] = 0

    def _count(self, numbers: Array, ends: Rows) -> None:
        steps = np.minimum(ends, self._longest)
        self.total += int((steps - self._steps[numbers]).sum()) * self._step
        self._steps[numbers] = steps


def cell_bytes(cache: Cache) -> int:
    """Keys and values of one time step."""
    return 2 * cache.heads * cache.width * np.dtype(cache.dtype).itemsize
