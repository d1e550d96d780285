"""The one shape of data: many sequences' steps of different lengths, packed without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different lengths, one after the other.

    values:  [tokens, ...], the rows' time steps back to back
    lengths: [rows] int64, each at least 1; they sum up to `tokens`

    Raises InvalidInput if the two do not fit each other.
    """

    values: NDArray[np.generic]
    lengths: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.values.ndim < 1 or self.lengths.ndim != 1:
            raise InvalidInput("a ragged batch needs values [tokens, ...] and lengths [rows]")
        if len(self.lengths) and int(self.lengths.min()) < 1:
            raise InvalidInput("a step has at least one time step; lengths must be 1 or more")
        if (self.lengths > len(self.values)).any() or int(self.lengths.sum()) != len(self.values):
            raise InvalidInput(f"lengths sum up to {self.lengths.sum()}, but there are {len(self.values)} time steps")

    @classmethod
    def of(cls, rows: Sequence[NDArray[np.generic]]) -> Ragged:
        """Packs `rows`, each [time, ...]; at least one row. Raises InvalidInput if their trailing axes differ."""
        if not rows or len({(r.shape[1:], r.dtype) for r in rows}) != 1:
            raise InvalidInput("rows need one common shape behind the time axis, and one dtype")
        return cls(np.concatenate(rows), np.array([len(r) for r in rows], np.int64))

    @property
    def starts(self) -> NDArray[np.int64]:
        """[rows] index of each row's first time step in `values`."""
        return starts(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[NDArray[np.generic]]:
        """The rows, each a view [time, ...]."""
        return iter(np.split(self.values, np.cumsum(self.lengths)[:-1]))

    def __repr__(self) -> str:
        cell = f"{self.values.dtype}{list(self.values.shape[1:])}"
        return f"Ragged(rows={len(self)}, tokens={len(self.values)}, of={cell})"


def starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """[rows] lengths → [rows] index of each row's first time step in the packed values."""
    first: NDArray[np.int64] = np.cumsum(lengths) - lengths
    return first


def token_index(lengths: NDArray[np.int64], rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """The indices, in packed values of `lengths`, of all time steps of the chosen `rows`, row after row: [tokens']."""
    return spans(starts(lengths)[rows], lengths[rows])


def spans(first: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """first[k], first[k] + 1, … as many as lengths[k], for all k one after the other: [tokens]."""
    shift = np.repeat(first - starts(lengths), lengths)
    index: NDArray[np.int64] = np.arange(len(shift), dtype=np.int64) + shift
    return index
