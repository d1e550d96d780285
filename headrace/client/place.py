"""Where a sequence stands, as far as its client can know: arithmetic on positions, and nothing else."""

from __future__ import annotations

from .step import UNSENT, Step


class Place:
    """Mutable. All are time steps applied: 0 ≤ `answered` ≤ `written` while nobody else moves the sequence."""

    def __init__(self) -> None:
        self.answered = 0  # up to the last answer that came
        self.written = 0  # after all that was written: where the next step begins
        self.reopened_at = 0  # told by the server's last Opened: what ends before it was applied
        self.server_position: int | None = None  # told by its last refusal since writing last began anew

    def write(self, step: Step) -> None:
        """The step gets its position, unless it is sent again for its answer alone."""
        if not self.applied(step):
            step.position = self.written
            self.written += step.length

    def applied(self, step: Step) -> bool:
        """Whether it is sent again for its answer alone. The server keeps that until it is acknowledged."""
        return step.position != UNSENT and step.end <= self.reopened_at

    def answer(self, step: Step) -> None:
        end = step.end
        if end > self.answered:
            self.answered = end
        if self.server_position is not None:
            self.server_position = max(self.server_position, end)

    def explains(self, position: int) -> bool:
        """Whether the server may stand there by what we wrote."""
        return self.answered <= position <= self.written

    def settled(self) -> int:
        """Where the sequence stands when all that was written is answered: where the answers say, unless the server
        expects what no step of ours led to. A position within what was written counted steps that failed later.
        """
        if self.server_position is None or self.explains(self.server_position):
            return self.answered
        return self.server_position

    def begin_at(self, position: int) -> None:
        """All before is settled: the next step is written here."""
        self.answered = self.written = position
        self.server_position = None
