"""One stream of a connection: who hears of it, and what it still has to send."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]


class Incoming(Protocol):
    """Hears of a stream, while its session receives or sends. It must not raise."""

    def receive(self, data: bytes) -> None:
        """They must be consumed in the end."""

    def end(self) -> None:
        """The client sends no more."""

    def drained(self) -> None:
        """All that was written has been sent."""

    def leave(self) -> None:
        """Nothing more can come or be sent."""


class Stream:
    """Mutable. number: its name on the connection; unsent: bytes that wait; trailers: what ends it behind them, None
    until that is known; incoming: None if nobody wants to hear of it; deferred: nghttp2 asks for no more until it
    hears that there is something; open: the client may still send.
    """

    __slots__ = ("_chunks", "deferred", "incoming", "number", "open", "trailers", "unsent")

    def __init__(self, number: int) -> None:
        self.number = number
        self._chunks: deque[bytes | memoryview] = deque()
        self.unsent = 0
        self.trailers: Headers | None = None
        self.incoming: Incoming | None = None
        self.deferred, self.open = False, True

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.unsent += len(chunk)

    def take(self, most: int) -> bytes:
        """At most so many bytes of what waits; some must."""
        first = self._chunks.popleft()
        if len(first) > most:
            self._chunks.appendleft(memoryview(first)[most:])
            first = first[:most]
        self.unsent -= len(first)
        return bytes(first)  # which is itself, mostly

    def drop(self) -> None:
        """What waits will not be sent, and nobody hears of it."""
        self._chunks.clear()
        self.unsent, self.incoming = 0, None
