"""A bound at the door, without blocking: what was let in and is not settled yet."""

from __future__ import annotations

import asyncio

from headrace.errors import InvalidInput, Overloaded

from .commands import Barrier, Cancel, Close, Command, Leave, NamedStep, NamedSteps, Open, Step


def weight(command: Command) -> int:
    """What a command counts: about as many answers as it can bring, so that unread answers are bounded too."""
    match command:
        case Step(steps) | NamedStep(steps) | NamedSteps(steps):
            return len(steps)
        case Cancel() | Close():
            return len(command.keys)
        case Open():
            return 1
        case Leave() | Barrier():
            return 0


class Gate:
    """Counts what is inside. Used on the event loop alone."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what, self.inside = most, what, 0
        self._empty, self._room = asyncio.Event(), asyncio.Event()
        self._count(0)

    def __repr__(self) -> str:
        return f"Gate({self.inside} of {self._most})"

    def enter(self, weight: int) -> None:
        """Raises, at once and without effect, Overloaded if it does not fit now, InvalidInput if it never can."""
        if weight > self._most:
            raise InvalidInput(
                f"{weight} steps came at once, and at most {self._most} may be queued {self._what}; "
                f"send at most {self._most} rows in a frame or request"
            )
        if self.inside + weight > self._most:
            raise Overloaded(
                f"{self.inside} steps are queued {self._what}, at most {self._most} may be; wait for answers and retry",
                retry_after=0.05,
            )
        self._count(weight)

    def pass_through(self, weight: int) -> None:
        """For what must not be refused; who lets it in waits for `room` before there is more."""
        self._count(weight)

    def leave(self, weight: int) -> None:
        self._count(-weight)

    async def empty(self) -> None:
        """Returns when all that entered is settled."""
        await self._empty.wait()

    async def room(self) -> None:
        """Returns when no more is inside than may be."""
        await self._room.wait()

    def _count(self, change: int) -> None:
        self.inside += change
        for event, holds in ((self._empty, not self.inside), (self._room, self.inside <= self._most)):
            if holds:
                event.set()
            else:
                event.clear()
