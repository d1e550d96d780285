"""gRPC's length-prefixed messages (PROTOCOL-HTTP2.md of gRPC): one byte, compressed or not; four, its length."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

PREFIX = 5
PLAIN = b"\0"

#: The encodings that are understood, as `zlib` takes its window's bits.
ENCODINGS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}

#: Bytes that are unpacked on the event loop itself, in well under a millisecond.
AT_ONCE = 64 << 10

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


@dataclass(frozen=True, slots=True)
class Packed:
    """A compressed message, that waits so."""

    message: bytes
    encoding: bytes | None

    def __len__(self) -> int:
        return len(self.message)

    async def unpacked(self, most: int) -> bytes:
        """most: bytes that it may have then. What is large is unpacked in a thread. Raises Refused."""
        if self.encoding not in ENCODINGS:
            raise Refused(grpc.StatusCode.INTERNAL, "a message is compressed, but the call does not say how")
        unpacker = zlib.decompressobj(ENCODINGS[self.encoding])
        try:
            plain = unpacker.decompress(self.message, min(AT_ONCE, most + 1))
            if len(plain) <= most and unpacker.unconsumed_tail:
                rest = unpacker.unconsumed_tail, most + 1 - len(plain)
                plain += await asyncio.to_thread(unpacker.decompress, *rest)
        except zlib.error as error:
            raise Refused(grpc.StatusCode.INTERNAL, f"a compressed message cannot be read: {error}") from error
        if len(plain) > most:
            raise too_large(f"more than {most}", most)
        if not unpacker.eof:
            raise Refused(grpc.StatusCode.INTERNAL, "a compressed message is cut short")
        return plain


def too_large(size: str, most: int) -> Refused:
    return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a message of {size} bytes is over the limit of {most}")


class Assembler:
    """Data in whatever pieces → messages. Mutable: `_partial`, the beginning of a message.

    most: bytes of a message. encoding: what the client compresses with.
    """

    __slots__ = ("_encoding", "_most", "_partial")

    def __init__(self, most: int, encoding: bytes | None) -> None:
        self._most, self._encoding = most, encoding
        self._partial = bytearray()

    @property
    def halfway(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._partial)

    def feed(self, data: bytes) -> Sequence[bytes | Packed]:
        """The messages that are now complete. Raises Refused."""
        if not self._partial and data[:1] == PLAIN and self._end(data[:PREFIX]) == len(data):
            return (data[PREFIX:],)  # as most: one message, all of it
        self._partial += data
        messages, start, whole = [], 0, len(self._partial)
        while start + PREFIX <= whole and (end := start + self._end(self._partial[start : start + PREFIX])) <= whole:
            messages.append(self._message(self._partial[start], bytes(self._partial[start + PREFIX : end])))
            start = end
        del self._partial[:start]
        return messages

    def drop(self) -> None:
        """What has begun will not be completed."""
        self._partial.clear()

    def _end(self, prefix: bytes | bytearray) -> int:
        """Of the message behind it, counted from its own beginning. More than that if the prefix is not complete."""
        if (length := int.from_bytes(prefix[1:], "big")) > self._most:
            raise too_large(str(length), self._most)
        return PREFIX + length

    def _message(self, flag: int, message: bytes) -> bytes | Packed:
        if flag > 1:
            raise Refused(grpc.StatusCode.INTERNAL, f"a message begins with {flag}, and not with 0 or 1")
        return Packed(message, self._encoding) if flag else message
