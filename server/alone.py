"""Whether a caller has the server to himself, so that a step of his may run on the event loop's own thread.

Handing a step to another thread and its answer back takes two changes of threads, each of which waits for the system's
scheduler and for the interpreter's lock: for one row about as much as the runtime itself. The event loop stands still
while it runs a step, which harms nobody if nobody else is there.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf

from .commands import Command, NamedSteps, Step
from .gate import Gate

#: Nobody else may have posted anything for so long, in seconds.
QUIET = 0.005

#: No more time steps in a command, and what such a tick takes, in seconds.
FEW, BRIEF = 8, 1e-3
LONG = 10 * BRIEF


class Alone:
    """Plain data, used on the event loop alone. Mutable: who posted last, and since when it was he alone; `gates` of
    all models, which count what is not answered."""

    def __init__(self) -> None:
        self.gates: list[Gate] = []
        self._caller: Hashable = None
        self._since = inf

    def __repr__(self) -> str:
        return f"Alone(gates={self.gates})"

    def posts(self, command: Command) -> bool:
        """Notes the command, which has entered; whether all the rest is quiet, and it is small."""
        if not isinstance(command, (Step, NamedSteps)):
            self._caller = None
            return False
        caller, steps = _caller(command), command.steps
        if caller != self._caller:
            self._caller, self._since = caller, steps.arrived
        return steps.arrived - self._since >= QUIET and steps.tokens <= FEW and self._inside() == len(steps)

    def _inside(self) -> int:
        return sum([gate.inside for gate in self.gates])


class Brief:
    """What a small tick of a lane takes, journal, commit and failures among it: a moving figure, in which one that was
    held up counts little. One that was LONG closes the lane to borrowers for about twenty others. Written by who has
    the lane, read on the event loop.

    never: lanes that may wait for something else than the runtime, such as a disk.
    """

    def __init__(self, *, never: bool = False) -> None:
        self.seconds, self._never = inf, never

    def __repr__(self) -> str:
        return f"Brief({1e6 * self.seconds:.0f} µs)"

    def __bool__(self) -> bool:
        return self.seconds <= BRIEF and not self._never

    def ran(self, tokens: int, seconds: float) -> None:
        if tokens > FEW:
            return
        if seconds > LONG:
            self.seconds = LONG
        elif self.seconds == inf:
            self.seconds = seconds
        else:
            self.seconds += (min(seconds, 2 * BRIEF) - self.seconds) / 8


def _caller(command: Step | NamedSteps) -> Hashable:
    """A connection of frames; or of rows that name them, their sequences."""
    return id(command.steps.sink) if isinstance(command, Step) else command.names
