"""A connection's names for its sequences: small numbers that the client chose → the lane's sequence numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, InvalidInput, TakenOver, UnknownSequence

from .steps import Array

#: What a key stands for when it is no sequence any more (numbers of sequences are 0 and above).
UNKNOWN, CLOSED, EXPIRED, TAKEN = -2, -3, -4, -5

REASONS: Mapping[int, tuple[type[HeadraceError], str]] = MappingProxyType(
    {
        UNKNOWN: (UnknownSequence, "key {} was not opened on this connection; send an open before its first step"),
        CLOSED: (UnknownSequence, "the sequence of key {} was closed; open it again"),
        EXPIRED: (UnknownSequence, "the sequence of key {} expired after its time to live; open it again"),
        TAKEN: (TakenOver, "another connection took over the sequence of key {}; resume it to take it back"),
    }
)

#: Keys lie below this: the table of a connection is an array.
MOST_KEYS = 1 << 20


class Handles:
    """Keys of one connection in one lane; a column that grows to the largest key, and one place that is no key's."""

    def __init__(self) -> None:
        self._numbers = np.full(16, UNKNOWN)

    def __iter__(self) -> Iterator[int]:
        """The numbers of the sequences that the connection owns."""
        return iter(self._numbers[self._numbers >= 0].tolist())

    def __getitem__(self, key: int) -> int:
        return int(self._numbers[key]) if key < len(self._numbers) else UNKNOWN

    def __setitem__(self, key: int, number: int) -> None:
        """Raises InvalidInput for a key that would make the table too large."""
        if key >= MOST_KEYS:
            raise InvalidInput(f"key {key} is too large; choose numbers below {MOST_KEYS}, and closed ones again")
        if key >= len(self._numbers) - 1:
            grown = np.full(max(key + 2, 2 * len(self._numbers)), UNKNOWN)
            grown[: len(self._numbers)] = self._numbers
            self._numbers = grown
        self._numbers[key] = number

    def lookup(self, keys: NDArray[np.uint32]) -> Array:
        """[rows] keys → [rows] numbers, or a negative word for why there is none."""
        return self._numbers.take(keys, mode="clip")  # keys beyond the column find its last place


def why(number: int, key: int) -> HeadraceError:
    """What a negative entry means, as the error for a step."""
    kind, message = REASONS[number]
    return kind(message.format(key))
