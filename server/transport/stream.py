"""One stream of a connection: who hears of it, and what it still has to send."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from .library import ffi

Headers = Sequence[tuple[bytes, bytes]]


class Incoming(Protocol):
    """Hears of a stream, while its session receives or sends. It must not raise."""

    def receive(self, data: Any) -> None:
        """Data, as a buffer that lives no longer than this call. They must be consumed in the end."""

    def end(self) -> None:
        """The client sends no more."""

    def drained(self) -> None:
        """All that was written has been sent."""

    def leave(self) -> None:
        """Nothing more can come or be sent."""


class Stream:
    """Mutable. unsent: bytes that wait; trailers: what ends it behind them, None until that is known.

    incoming: None if nobody wants to hear of it; deferred: nghttp2 asks for no more until it hears that there is
    something; open: the client may still send.
    """

    __slots__ = ("_chunks", "_offset", "deferred", "incoming", "open", "trailers", "unsent")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._offset = 0  # what has gone of the first chunk
        self.unsent = 0
        self.trailers: Headers | None = None
        self.incoming: Incoming | None = None
        self.deferred, self.open = False, True

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.unsent += len(chunk)

    def move(self, buffer: Any, most: int) -> int:
        """Moves at most so many bytes into the C buffer; returns how many."""
        moved = 0
        while self._chunks and moved < most:
            chunk, start = self._chunks[0], self._offset
            size = min(len(chunk) - start, most - moved)
            ffi.memmove(buffer + moved, ffi.from_buffer(chunk) + start if start else chunk, size)
            moved += size
            self._offset += size
            if self._offset == len(chunk):
                self._chunks.popleft()
                self._offset = 0
        self.unsent -= moved
        return moved
