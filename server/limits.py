"""The bounds of one lane."""

from __future__ import annotations

from dataclasses import dataclass, field

from .cost import Cost


@dataclass(frozen=True, slots=True)
class Limits:
    rows: int = 64  # in a batch
    tokens: int = 4096  # time steps in a batch, unless a single row has more
    sequences: int = 10_000  # live at a time
    idle: float = 600.0  # seconds until an unused sequence expires
    kept_bytes: int = 256 << 20  # of replies that wait for acknowledgement
    cache_bytes: int = 1 << 30  # of keys and values
    most_rows: int = 0  # that `rows` may become while the lane runs, if more
    cost: Cost = field(default_factory=Cost)  # of a batch, where models have no states
    part: int = 4  # time steps of a row in one tick, where longer steps may be cut
    few: int = 64  # time steps of a tick that fewer rows may share, each with more than a part

    @property
    def slots(self) -> int:
        """Of an arena: one for each sequence, free ones for a whole batch to be written to before its commit, and as
        many for rows that are under way, or that go onward: those never share a batch."""
        return self.sequences + 2 * max(self.rows, self.most_rows)
