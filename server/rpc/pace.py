"""How often calls for texts are written to: the more of them, the less often each, with what came meanwhile merged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

#: Seconds between two messages, of all calls together. One costs the event loop about 50 µs, which it takes from the
#: lanes: with 32 calls of one text each, and a message for each token, a third of all the server's work.
APART = 250e-6

#: A call does not wait for less, in seconds: few calls get each token as it comes.
LEAST = 2e-3


class Pace:
    """Mutable: `_calls`, those that are written to. wait: sleeps so many seconds."""

    def __init__(self, wait: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._wait, self._calls = wait, 0

    def __repr__(self) -> str:
        return f"Pace(calls={self._calls})"

    @contextmanager
    def joined(self) -> Iterator[None]:
        """One more call, while the block runs."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    async def pause(self) -> None:
        """Between two messages of one call."""
        seconds = self._calls * APART
        if seconds > LEAST:
            await self._wait(seconds)
