"""The log of accepted ticks. A tick is committed, and its replies leave, only after its record is in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .steps import Steps


@dataclass(frozen=True, slots=True)
class Record:
    """What it takes to apply a tick again: its inputs, and which sequences they were for."""

    model: str
    version: str
    steps: tuple[Steps, ...]


class Journal(Protocol):
    def append(self, record: Record) -> None:
        """Returns when the record is safe. Raises OSError if it cannot be made so; then it must leave no trace."""


class NoJournal:
    """State lives as long as the process."""

    def append(self, record: Record) -> None:
        pass
