"""The bounds of one lane."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    rows: int = 64  # in a batch
    tokens: int = 4096  # time steps in a batch, unless a single row has more
    sequences: int = 10_000  # live at a time
    idle: float = 600.0  # seconds until an unused sequence expires
    kept_bytes: int = 256 << 20  # of replies that wait for acknowledgement

    @property
    def slots(self) -> int:
        """Of an arena: one for each sequence, and free ones for a whole batch to be written to before its commit."""
        return self.sequences + self.rows
