"""What a stream still has to send."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from .library import ffi

Headers = Sequence[tuple[bytes, bytes]]


class Outgoing:
    """Mutable. unsent: bytes that wait; trailers: what ends the stream behind them, None until that is known.

    deferred: nghttp2 asks no more until it hears that there is something; open: the client may still send.
    """

    __slots__ = ("_chunks", "_offset", "deferred", "open", "trailers", "unsent")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._offset = 0  # what has gone of the first chunk
        self.unsent = 0
        self.deferred = False
        self.trailers: Headers | None = None
        self.open = True

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
