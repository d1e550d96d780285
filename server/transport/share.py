"""What the calls of one connection may take of the event loop before others have their turn."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

#: Seconds.
TURN = 2e-3


class Share:
    """On the event loop. A limit for each stream would not do: a client may have thousands of them.

    Mutable: `_until`, when the turn is over; `_waiting`, who goes on in the next ones, first come, first served.
    clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until = clock, 0.0
        self._waiting: deque[Callable[[], None]] = deque()

    def __repr__(self) -> str:
        return f"Share(waiting={len(self._waiting)})"

    def begin(self) -> None:
        """A turn."""
        self._until = self._clock() + TURN

    @property
    def over(self) -> bool:
        """Whether others are to have their turn."""
        return self._clock() > self._until

    def wait(self, go_on: Callable[[], None]) -> None:
        """Calls it in a later turn. It must not raise."""
        self._waiting.append(go_on)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """One turn, in which nobody goes on twice."""
        self.begin()
        going, self._waiting = self._waiting, deque()
        while going and not self.over:
            going.popleft()()
        if going:
            planned = bool(self._waiting)
            self._waiting.extendleft(reversed(going))
            if not planned:
                asyncio.get_running_loop().call_soon(self._next)
