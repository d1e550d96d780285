"""When a lane looks for idle sequences."""

from __future__ import annotations

from .admission import MOST_EXPIRED, Admission
from .meter import Meter, contained
from .steps import Answers

#: They are looked for this often, in seconds.
EXPIRY_INTERVAL = 1.0


class Expiry:
    """Mutable: `due`, when to look next, in seconds; and the state that `admission` changes."""

    def __init__(self, admission: Admission, meter: Meter, now: float) -> None:
        self._admission, self._meter = admission, meter
        self.due = now + EXPIRY_INTERVAL

    def __repr__(self) -> str:
        return f"Expiry(due={self.due:.3f})"

    def look(self, now: float) -> Answers:
        """What the owners of those that expired are told; nothing before it is due."""
        if now < self.due:
            return []
        sequences = self._admission.state.sequences
        live = len(sequences)
        answers = self._admission.expire(now)
        gone = live - len(sequences)
        self.due = now + (EXPIRY_INTERVAL if gone < MOST_EXPIRED else 0.0)
        contained(self._meter.expired, gone)
        return answers
