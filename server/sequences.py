"""The live sequences of one lane, in columns indexed by a sequence's number. Written by who has the lane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Overloaded

from .steps import Array, Sink, same

Name = tuple[str, str]  # tenant, id

#: `slot` of a sequence that has no state yet: its first step starts from the spec's initial value.
FRESH = -1


class FreeList:
    """Numbers 0 … count-1 as a stack: what was given back last is taken first, so that memory in use stays hot."""

    def __init__(self, count: int) -> None:
        self._stack = np.arange(count - 1, -1, -1, dtype=np.int64)
        self._free = count

    def __len__(self) -> int:
        return self._free

    def take(self, count: int) -> Array:
        """[count] int64 numbers; the caller has checked that there are as many."""
        if count > self._free:
            raise IndexError(f"{count} numbers wanted, {self._free} free")
        self._free -= count
        return self._stack[self._free : self._free + count].copy()

    def give(self, numbers: Array) -> None:
        self._stack[self._free : self._free + len(numbers)] = numbers
        self._free += len(numbers)

    def give_one(self, number: int) -> None:
        self._stack[self._free] = number
        self._free += 1


class Sequences:
    """Mutable state, and who changes it: `create`/`remove` by opens and closes, `position` and `slot` by commits alone,
    `expected` and `pending` by the admission and settling of steps, `owner` and `key` by opens and lost connections."""

    def __init__(self, capacity: int) -> None:
        self.names: dict[Name, int] = {}
        self._name: list[Name] = [("", "")] * capacity
        self._free = FreeList(capacity)
        self.capacity = capacity
        self.position = np.zeros(capacity, np.int64)  # time steps applied
        self.expected = np.zeros(capacity, np.int64)  # where the next admitted step must begin
        self.pending = np.zeros(capacity, np.int32)  # steps admitted and not yet settled
        self.slot = np.full(capacity, FRESH, np.int64)  # where in the arena its state lies
        self.used = np.full(capacity, np.inf)  # seconds, last time that anything came; inf: not live
        self.incarnation = np.zeros(capacity, np.uint64)
        self.owner: list[Sink | None] = [None] * capacity  # who is told when it leaves; None: its connection is gone
        self.key = np.zeros(capacity, np.uint32)  # the owner's name for it
        self.closing = np.zeros(capacity, np.bool_)  # leaves once nothing is pending
        self.detached = np.zeros(capacity, np.bool_)  # closing, and its name is another's or nobody's already
        self._stamp = np.zeros(capacity, np.int64)  # scratch of `first_of_each`

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    def __repr__(self) -> str:
        return f"Sequences(live={len(self)}, capacity={self.capacity})"

    def require_room(self) -> None:
        """Raises Overloaded if no further sequence can be created."""
        if not len(self._free):
            raise Overloaded(
                f"all {self.capacity} sequences of this lane are live; close some, or retry when idle ones expire",
                retry_after=1.0,
            )

    def create(self, name: Name, incarnation: int, now: float) -> int:
        """A sequence at position 0. Raises Overloaded if there is no room."""
        self.require_room()
        number = int(self._free.take(1)[0])
        self.names[name], self._name[number] = number, name
        self.position[number] = self.expected[number] = self.pending[number] = 0
        self.slot[number], self.used[number], self.incarnation[number] = FRESH, now, incarnation
        self.owner[number], self.closing[number], self.detached[number] = None, False, False
        return number

    def remove(self, number: int) -> int:
        """Forgets the sequence and returns its slot, which the caller gives back."""
        assert not self.pending[number], "a sequence with pending steps cannot leave"
        if not self.detached[number]:
            del self.names[self._name[number]]
        self.used[number], self.owner[number] = np.inf, None
        self._free.give(np.array([number]))
        return int(self.slot[number])

    def detach(self, number: int) -> None:
        """Frees the sequence's name at once; the sequence itself leaves when nothing of it is pending."""
        del self.names[self._name[number]]
        self.closing[number] = self.detached[number] = True

    def names_of(self, numbers: Array) -> tuple[Name, ...]:
        """[rows] numbers of live sequences → their names; a detached one has none that means anything."""
        return tuple(self._name[number] for number in numbers.tolist())

    def owners(self) -> list[tuple[Sink, int]]:
        """Who is to be told of each sequence, and its name for it."""
        return [(owner, int(key)) for owner, key in zip(self.owner, self.key, strict=True) if owner is not None]

    def has_pending_at(self, numbers: Array, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[rows] whether a position lies among a sequence's pending steps; most void cancels end here."""
        inside: NDArray[np.bool_] = (self.position[numbers] <= positions) & (positions < self.expected[numbers])
        return inside

    def idle_since(self, then: float, most: int) -> list[int]:
        """Numbers of the sequences unused since `then`, none with pending steps; no more than `most` of them."""
        idle: list[int] = np.flatnonzero((self.used <= then) & (self.pending == 0))[:most].tolist()
        return idle

    def distinct(self, numbers: Array) -> bool:
        """Whether no number stands there twice."""
        rows = np.arange(len(numbers))
        self._stamp[numbers] = rows
        return same(self._stamp[numbers], rows)

    def first_of_each(self, numbers: Array) -> NDArray[np.bool_]:
        """[rows] whether a row is the first one of its sequence."""
        rows = np.arange(len(numbers))
        self._stamp[numbers[::-1]] = rows[::-1]  # of equal indices the last assignment stays: here, the first row
        first: NDArray[np.bool_] = self._stamp[numbers] == rows
        return first
