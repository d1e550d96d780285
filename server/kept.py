"""Replies that their clients have not acknowledged: a step that is sent again is answered from here, not applied twice.

Room is reserved when a step is admitted, so that no reply ever has to be dropped for want of room.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.spec import Output

from .steps import NEVER_AGAIN, Array, Outputs, Rows, holds, occurs, same

#: At most so many steps, and so many bytes unless it is a single one, wait for acknowledgement in a sequence.
MOST_STEPS = 8
MOST_BYTES = 64 * 1024

#: `end` of a sequence without a reply in its cell: no step that is applied ends there.
EMPTY = NEVER_AGAIN


class Reply(NamedTuple):
    """Bytes of its own for each output: a view would keep the whole batch's for as long as one client is slow."""

    position: int
    end: int
    size: int
    outputs: tuple[bytes, ...]


class Kept:
    """A reply of one time step is written to its sequence's cell: so the replies of a batch cost one copy an output.
    Longer ones, and those that find the cell full, are bytes, row by row.

    The cells are memory only once they are written, and at most `most_bytes` of it; where all sequences' would be more
    there are none, for outputs so large cost more than their bytes objects.

    Mutable: `count` and `size` [capacity] with what is reserved or filled; `end` [capacity], after which position the
    reply in the cell ends; the cells; and the other replies.
    """

    def __init__(self, capacity: int, outputs: Sequence[Output], most_bytes: int) -> None:
        self.count = np.zeros(capacity, np.int64)
        self.size = np.zeros(capacity, np.int64)
        self.total = 0  # bytes, reserved or filled, of all sequences
        self.most_bytes = most_bytes
        self._outputs = outputs
        self._token_bytes = sum(_cell_bytes(o) for o in outputs if o.time)
        self._row_bytes = sum(_cell_bytes(o) for o in outputs if not o.time)
        self._end = np.full(capacity, EMPTY)
        self._celled = capacity * self._unit <= most_bytes
        self._cells = tuple(np.zeros((capacity if self._celled else 0, *o.shape), o.dtype) for o in outputs)
        self._others: dict[int, list[Reply]] = {}  # of each sequence, oldest first

    def __repr__(self) -> str:
        return f"Kept(sequences={np.count_nonzero(self.count)}, bytes={self.total})"

    @property
    def _unit(self) -> int:
        """Bytes of the reply to one time step."""
        return self._token_bytes + self._row_bytes

    def sizes(self, lengths: Rows) -> NDArray[np.int64]:
        """[rows] bytes of the replies to steps of these lengths."""
        return lengths * self._token_bytes + self._row_bytes

    def reserve(self, numbers: Array, lengths: Rows) -> NDArray[np.bool_]:
        """Room for one reply of each, where there is any: [rows]. numbers differ from each other."""
        sizes, count, size = self.sizes(lengths), self.count[numbers], self.size[numbers]
        fits: NDArray[np.bool_] = (count == 0) | ((count < MOST_STEPS) & (size + sizes <= MOST_BYTES))
        more = int(np.add.reduce(sizes))
        if self.total + more > self.most_bytes:
            fits &= self.total + np.cumsum(np.where(fits, sizes, 0)) <= self.most_bytes
        if not holds(fits):
            self.reserve(numbers[fits], lengths[fits])
            return fits
        self.count[numbers], self.size[numbers] = count + 1, size + sizes
        self.total += more
        return fits

    def release(self, numbers: Array, lengths: Rows) -> None:
        """Gives up what was reserved for steps that will not be answered after all; numbers may repeat."""
        sizes = self.sizes(lengths)
        np.subtract.at(self.count, numbers, 1)
        np.subtract.at(self.size, numbers, sizes)
        self.total -= int(sizes.sum())

    def pass_on(self, numbers: Array, acked: Rows) -> bool:
        """Acknowledges and reserves at once for steps of one time step, where that changes no sum; else False, and
        nothing is done.

        So it is where all replies that a sequence keeps are the one in its cell, which is acknowledged. Numbers differ
        from each other. Steps that are never sent again pass, too, where the cell is empty: that is the same word.
        """
        if self._others or not same(self._end[numbers], acked):
            return False
        self._end[numbers] = EMPTY
        return True

    def passes_on(self, number: int, acked: int) -> bool:
        """The same for one."""
        if self._others or self._end.item(number) != acked:
            return False
        self._end[number] = EMPTY
        return True

    def keep(self, numbers: Array, ends: Rows, outputs: Outputs) -> None:
        """Fills what was reserved for steps that end there [rows], of which each is of another sequence."""
        inside = (self._end[numbers] == EMPTY) & (outputs.lengths == 1)
        if not self._celled:
            inside[:] = False
        if not holds(inside):
            self._keep_others(numbers[~inside], ends[~inside], outputs.take(~inside))
            numbers, ends, outputs = numbers[inside], ends[inside], outputs.take(inside)
        self._end[numbers] = ends
        for cells, given in zip(self._cells, outputs.cells, strict=True):
            cells[numbers] = given  # one cell a row, with time axis or without

    def keep_one(self, number: int, end: int, outputs: Outputs) -> None:
        """The same for one step."""
        if not self._celled or self._end.item(number) != EMPTY or outputs.lengths.item() != 1:
            self.keep(np.array([number]), np.array([end]), outputs)
            return
        self._end[number] = end
        for cells, given in zip(self._cells, outputs.cells, strict=True):
            cells[number] = given[0]

    def acknowledge(self, numbers: Array, upto: Rows) -> None:
        """Forgets each sequence's replies that end at or before `upto` [rows]; numbers differ from each other."""
        done = self._end[numbers] <= upto
        if occurs(done):
            self._empty(numbers[done])
        if self._others:
            for number, position in zip(numbers.tolist(), upto.tolist(), strict=True):
                self._acknowledge_others(number, position)

    def find(self, number: int, position: int, length: int) -> tuple[Array, ...] | None:
        """The outputs [time, ...] (or [1, ...] without time axis) of exactly this step, if they are kept."""
        if length == 1 and self._end[number] == position + 1 != EMPTY:  # a client may well ask for that place
            return tuple(cells[number : number + 1].copy() for cells in self._cells)
        for reply in self._others.get(number, ()):
            if (reply.position, reply.end) == (position, position + length):
                return tuple(
                    np.frombuffer(cells, o.dtype).reshape(length if o.time else 1, *o.shape)
                    for cells, o in zip(reply.outputs, self._outputs, strict=True)
                )
        return None

    def drop(self, number: int) -> None:
        """Forgets all of a sequence that leaves; it has no pending steps."""
        self._others.pop(number, None)
        self.total -= int(self.size[number])
        self.count[number], self.size[number], self._end[number] = 0, 0, EMPTY

    def _empty(self, numbers: Array) -> None:
        self._end[numbers] = EMPTY
        self.count[numbers] -= 1
        self.size[numbers] -= self._unit
        self.total -= len(numbers) * self._unit

    def _keep_others(self, numbers: Array, ends: Rows, outputs: Outputs) -> None:
        lengths, columns = outputs.lengths, zip(outputs.cells, outputs.timed, strict=True)
        cut = [_row_bytes(cells, lengths if timed else None) for cells, timed in columns]
        begins, sizes = (ends - lengths).tolist(), self.sizes(lengths).tolist()
        rows = zip(begins, ends.tolist(), sizes, zip(*cut, strict=True), strict=True)
        for number, reply in zip(numbers.tolist(), map(Reply._make, rows), strict=True):
            self._others.setdefault(number, []).append(reply)

    def _acknowledge_others(self, number: int, upto: int) -> None:
        replies = self._others.get(number, [])
        done = [reply.size for reply in replies if reply.end <= upto]
        del replies[: len(done)]
        if done and not replies:
            del self._others[number]
        self.count[number] -= len(done)
        self.size[number] -= sum(done)
        self.total -= sum(done)


def _cell_bytes(output: Output) -> int:
    return prod(output.shape) * np.dtype(output.dtype).itemsize


def _row_bytes(cells: Array, lengths: Rows | None) -> list[bytes]:
    """Each row's part of an output, as bytes: so many time steps of it, or one cell each."""
    count = np.ones(len(cells), np.int64) if lengths is None else lengths
    ends = np.cumsum(count) * (cells.nbytes // max(len(cells), 1))
    flat = cells.tobytes()
    return [flat[begin:end] for begin, end in pairwise([0, *ends.tolist()])]
