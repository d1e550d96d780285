"""A bound at the door, without blocking: what was let in and is not settled yet."""

from __future__ import annotations

import asyncio

from headrace.errors import InvalidInput, Overloaded

from .commands import Barrier, Cancel, Close, Command, Fork, Generate, Leave, NamedSteps, Open, Step


def weight(command: Command) -> int:
    """What a command counts: about as many answers as it can bring, so that unread answers are bounded too."""
    match command:
        case Step(steps) | NamedSteps(steps):
            return len(steps)
        case Cancel() | Close() | Fork():
            return len(command.keys)
        case Generate(prompts=prompts, copies=copies):
            return len(prompts) * copies
        case Open():
            return 1
        case Leave() | Barrier():
            return 0


class Gate:
    """Counts what is inside. Used on the event loop alone.

    Mutable: `inside`; `_waiters`, who waits for it to sink, and to what. Few wait, and much passes: so a change of the
    count costs an addition, and only with somebody waiting more.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what, self.inside = most, what, 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def __repr__(self) -> str:
        return f"Gate({self.inside} of {self._most})"

    @property
    def over(self) -> bool:
        """Whether more is inside than may be, which passed through."""
        return self.inside > self._most

    def enter(self, weight: int) -> None:
        """Raises, at once and without effect, Overloaded if it does not fit now, InvalidInput if it never can."""
        if self.inside + weight > self._most:
            raise self._refusal(weight)
        self.inside += weight

    def pass_through(self, weight: int) -> None:
        """For what must not be refused; who lets it in waits for `room` before there is more."""
        self.inside += weight

    def leave(self, weight: int) -> None:
        self.inside -= weight
        if self._waiters:
            self._wake()

    async def empty(self) -> None:
        """Returns when all that entered is settled."""
        await self._sunk_to(0)

    async def room(self) -> None:
        """Returns when no more is inside than may be."""
        await self._sunk_to(self._most)

    async def _sunk_to(self, level: int) -> None:
        while self.inside > level:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((level, waiter))
            await waiter

    def _wake(self) -> None:
        waiting, self._waiters = self._waiters, []
        for level, waiter in waiting:
            if self.inside > level:
                self._waiters.append((level, waiter))
            elif not waiter.done():  # else who waited was cancelled
                waiter.set_result(None)

    def _refusal(self, weight: int) -> InvalidInput | Overloaded:
        if weight > self._most:
            return InvalidInput(
                f"{weight} steps came at once, and at most {self._most} may be queued {self._what}; "
                f"send at most {self._most} rows in a frame or request"
            )
        return Overloaded(
            f"{self.inside} steps are queued {self._what}, at most {self._most} may be; wait for answers and retry",
            retry_after=0.05,
        )
