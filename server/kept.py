"""Replies that their clients have not acknowledged: a step that is sent again is answered from here, not applied twice.

Room is reserved when a step is admitted, so that no reply ever has to be dropped for want of room.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.spec import Output

from .steps import Array, Outputs, Rows

#: At most so many steps, and so many bytes unless it is a single one, wait for acknowledgement in a sequence.
MOST_STEPS = 8
MOST_BYTES = 64 * 1024


class Reply(NamedTuple):
    """Bytes of its own for each output: a view would keep the whole batch's for as long as one client is slow."""

    position: int
    end: int
    size: int
    outputs: tuple[bytes, ...]


class Kept:
    """Mutable: `count` and `size` [capacity] with what is reserved or filled, and the replies themselves."""

    def __init__(self, capacity: int, outputs: Sequence[Output], most_bytes: int) -> None:
        self.count = np.zeros(capacity, np.int32)
        self.size = np.zeros(capacity, np.int64)
        self.total = 0  # bytes, reserved or filled, of all sequences
        self.most_bytes = most_bytes
        self._outputs = outputs
        cells = [int(np.prod(o.shape)) * np.dtype(o.dtype).itemsize for o in outputs]
        self._token_bytes = sum(c for o, c in zip(outputs, cells, strict=True) if o.time)
        self._row_bytes = sum(c for o, c in zip(outputs, cells, strict=True) if not o.time)
        self._replies: dict[int, list[Reply]] = {}  # at most MOST_STEPS of each sequence, oldest first

    def __repr__(self) -> str:
        return f"Kept(sequences={len(self._replies)}, bytes={self.total})"

    def sizes(self, lengths: Rows) -> NDArray[np.int64]:
        """[rows] bytes of the replies to steps of these lengths."""
        return lengths * self._token_bytes + self._row_bytes

    def fits(self, numbers: NDArray[np.int32], lengths: Rows) -> NDArray[np.bool_]:
        """[rows] whether each reply may be reserved; numbers differ from each other."""
        sizes, count = self.sizes(lengths), self.count[numbers]
        alone = count == 0
        within = (count < MOST_STEPS) & (self.size[numbers] + sizes <= MOST_BYTES)
        own = alone | within
        fits: NDArray[np.bool_] = own & (self.total + np.cumsum(np.where(own, sizes, 0)) <= self.most_bytes)
        return fits

    def reserve(self, numbers: NDArray[np.int32], lengths: Rows) -> None:
        """Room for one reply of each; numbers differ from each other."""
        sizes = self.sizes(lengths)
        self.count[numbers] += 1
        self.size[numbers] += sizes
        self.total += int(sizes.sum())

    def release(self, numbers: NDArray[np.int32], lengths: Rows) -> None:
        """Gives up what was reserved for steps that will not be answered after all; numbers may repeat."""
        sizes = self.sizes(lengths)
        np.subtract.at(self.count, numbers, 1)
        np.subtract.at(self.size, numbers, sizes)
        self.total -= int(sizes.sum())

    def keep(self, numbers: NDArray[np.intp], positions: Rows, lengths: Rows, outputs: Outputs) -> None:
        """Fills what was reserved for these steps, one of each sequence."""
        cut = [
            _row_bytes(cells, lengths if timed else None)
            for cells, timed in zip(outputs.cells, outputs.timed, strict=True)
        ]
        ends, sizes = (positions + lengths).tolist(), self.sizes(lengths).tolist()
        columns = zip(positions.tolist(), ends, sizes, zip(*cut, strict=True), strict=True)
        for number, reply in zip(numbers.tolist(), map(Reply._make, columns), strict=True):
            self._replies.setdefault(number, []).append(reply)

    def acknowledge(self, numbers: NDArray[np.int32], upto: Rows) -> None:
        """Forgets each sequence's replies that end at or before `upto` [rows]; numbers differ from each other."""
        counts, sizes = [], []
        for number, position in zip(numbers.tolist(), upto.tolist(), strict=True):
            replies, count, size = self._replies.get(number, ()), 0, 0
            for reply in replies:
                if reply.end > position:
                    break
                count, size = count + 1, size + reply.size
            if count:
                del self._replies[number][:count]
            counts.append(count)
            sizes.append(size)
        self.count[numbers] -= np.array(counts, np.int32)
        self.size[numbers] -= sizes
        self.total -= sum(sizes)

    def find(self, number: int, position: int, length: int) -> tuple[Array, ...] | None:
        """The outputs [time, ...] (or [1, ...] without time axis) of exactly this step, if they are kept."""
        for reply in self._replies.get(number, ()):
            if (reply.position, reply.end) == (position, position + length):
                return tuple(
                    np.frombuffer(cells, o.dtype).reshape(length if o.time else 1, *o.shape)
                    for cells, o in zip(reply.outputs, self._outputs, strict=True)
                )
        return None

    def drop(self, number: int) -> None:
        """Forgets all of a sequence that leaves; it has no pending steps."""
        replies = self._replies.pop(number, ())
        size = sum(reply.size for reply in replies)
        self.count[number] -= len(replies)
        self.size[number] -= size
        self.total -= size


def _row_bytes(cells: Array, lengths: Rows | None) -> list[bytes]:
    """Each row's part of an output, as bytes: so many time steps of it, or one cell each."""
    count = np.ones(len(cells), np.int64) if lengths is None else lengths
    ends = np.cumsum(count) * (cells.nbytes // max(len(cells), 1))
    flat = cells.tobytes()
    return [flat[begin:end] for begin, end in pairwise([0, *ends.tolist()])]
