"""gRPC's length-prefixed messages (PROTOCOL-HTTP2.md of gRPC): one byte, compressed or not; four, its length."""

from __future__ import annotations

import zlib
from typing import Any

import grpc

PREFIX = 5

#: The encodings that are understood, as `zlib` takes its window's bits.
ENCODINGS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}


#: Names and values, of printable ASCII.
Metadata = tuple[tuple[str, str], ...]


class Refused(Exception):
    """A call that cannot go on: its status, a sentence for the client, and what else it should know."""

    def __init__(self, status: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        super().__init__(details)
        self.status, self.details, self.metadata = status, details, metadata


def framed(message: bytes) -> bytes:
    """As it goes over the wire."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


class Assembler:
    """Data in whatever pieces → messages. Mutable: `_partial`, the beginning of a message.

    most: bytes of a message, compressed and not. encoding: what the client compresses with.
    """

    __slots__ = ("_encoding", "_most", "_partial")

    def __init__(self, most: int, encoding: bytes | None) -> None:
        self._most, self._encoding = most, encoding
        self._partial = bytearray()

    @property
    def halfway(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._partial)

    def feed(self, data: Any) -> list[bytes]:
        """The messages that are now complete. data: a buffer that need not outlive the call. Raises Refused."""
        if not self._partial and len(data) >= PREFIX and self._end(data[:PREFIX]) == len(data):
            return [self._plain(data[:1], data[PREFIX:])]  # as most: one message, all of it
        self._partial += data
        messages, start = [], 0
        while len(self._partial) - start >= PREFIX:
            end = start + self._end(self._partial[start : start + PREFIX])
            if end > len(self._partial):
                break
            messages.append(self._plain(self._partial[start : start + 1], bytes(self._partial[start + PREFIX : end])))
            start = end
        del self._partial[:start]
        return messages

    def _end(self, prefix: bytes | bytearray) -> int:
        """Of the message behind it, counted from its own beginning."""
        length = int.from_bytes(prefix[1:], "big")
        if length > self._most:
            raise self._too_large(f"{length} bytes")
        return PREFIX + length

    def _too_large(self, size: str) -> Refused:
        return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a message of {size} is over the limit of {self._most}")

    def _plain(self, flag: bytes | bytearray, message: bytes) -> bytes:
        if flag == b"\0":
            return message
        if flag != b"\1" or self._encoding not in ENCODINGS:
            raise Refused(grpc.StatusCode.INTERNAL, "a message is compressed, but the call does not say how")
        unpacked = zlib.decompressobj(ENCODINGS[self._encoding])
        try:
            plain = unpacked.decompress(message, self._most + 1)
        except zlib.error as error:
            raise Refused(grpc.StatusCode.INTERNAL, f"a compressed message cannot be read: {error}") from error
        if len(plain) > self._most:
            raise self._too_large(f"more than {self._most} bytes, unpacked,")
        if not unpacked.eof:
            raise Refused(grpc.StatusCode.INTERNAL, "a compressed message is cut short")
        return plain
