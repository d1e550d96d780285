"""The log of accepted ticks. A tick is committed, and its replies leave, only after its record is in the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.ragged import token_index

from .sequences import Name, Sequences
from .steps import Array, Rows, Steps, columns, pack_values


@dataclass(frozen=True, slots=True)
class Record:
    """What it takes to apply a tick again, by names that outlive the process; of the rows that are applied alone.

    Columns are [rows]; values are packed [tokens, ...], one for each input of the spec.
    """

    model: str
    version: str
    names: tuple[Name, ...]
    positions: Rows  # time steps applied before; at 0 the state is the spec's initial value
    lengths: Rows
    values: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.names)


class Journal(Protocol):
    """keeps: whether anything is kept at all; where not, no record is made, for that costs more than the commit."""

    @property
    def keeps(self) -> bool: ...

    def append(self, record: Record) -> None:
        """Returns when the record is safe. Raises OSError if it cannot be made so; then it must leave no trace."""


class NoJournal:
    """State lives as long as the process."""

    keeps = False

    def append(self, record: Record) -> None:
        pass


def record(place: tuple[str, str], sequences: Sequences, pieces: Sequence[Steps], sound: NDArray[np.bool_]) -> Record:
    """The record of stateful rows that have run. place: model and version; sound: [rows] of all pieces.

    Rows of detached sequences are left out: their name is another's, and their state goes with the last of them.
    """
    numbers, positions, lengths = columns(pieces, "numbers", "positions", "lengths")
    chosen, values = sound & ~sequences.detached[numbers], pack_values(pieces)
    if chosen.all():
        return Record(*place, sequences.names_of(numbers), positions, lengths, values)
    rows = np.flatnonzero(chosen)
    tokens = token_index(lengths, rows)
    applied = tuple(v[tokens] for v in values)
    return Record(*place, sequences.names_of(numbers[rows]), positions[rows], lengths[rows], applied)
