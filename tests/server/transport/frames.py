"""HTTP/2's frames by hand, as a client sends and reads them (RFC 9113); headers as RFC 7541 has them."""

from __future__ import annotations

import weakref
from ctypes import byref, c_int, c_void_p
from dataclasses import dataclass, field

import pytest

from headrace.server.transport.library import Pair, library, needed
from headrace.server.transport.session import FRAME

needs_nghttp2 = pytest.mark.skipif(library() is None, reason="the library nghttp2 is not installed")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = 9

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
NO_ERROR, PROTOCOL_ERROR, CANCEL = 0, 1, 8
WINDOW_SIZE = 4

#: What a reader of headers may say: that was the last; there is one.
FINAL, EMIT = 1, 2


@dataclass(frozen=True, slots=True)
class Frame:
    """headers: those of a HEADERS frame, in lower case as they came."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    headers: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The only thing that a WINDOW_UPDATE or RST_STREAM says."""
        return int.from_bytes(self.payload, "big")

    @property
    def ends(self) -> bool:
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def settings(limits: dict[int, int]) -> bytes:
    return frame(SETTINGS, b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in limits.items()))


def headers(stream: int, pairs: dict[bytes, bytes], *, ends: bool = False) -> bytes:
    block = b"".join(b"\0%b%b" % (_string(name), _string(value)) for name, value in pairs.items())
    return frame(HEADERS, block, flags=END_HEADERS | ends, stream=stream)


def request(stream: int, path: str, *, ends: bool = False, **more: bytes) -> bytes:
    """What begins a call. more: further headers, or others instead; `_` in their names stands for `-`."""
    usual = {b":method": b"POST", b":scheme": b"http", b":path": path.encode(), b":authority": b"here"}
    own = {name.replace("_", "-").encode(): value for name, value in more.items()}
    return headers(stream, usual | {b"content-type": b"application/grpc"} | own, ends=ends)


def data(stream: int, payload: bytes, *, ends: bool = False) -> bytes:
    """In as many frames as it takes."""
    pieces = [payload[at : at + FRAME] for at in range(0, len(payload), FRAME)] or [b""]
    sent = [frame(DATA, piece, stream=stream) for piece in pieces[:-1]]
    return b"".join([*sent, frame(DATA, pieces[-1], flags=int(ends), stream=stream)])


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, code.to_bytes(4, "big"), stream=stream)


def window(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, size.to_bytes(4, "big"), stream=stream)


def _string(text: bytes) -> bytes:
    """A length below 127 in seven bits; a longer one goes on in the next bytes."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, size = len(text) - 127, bytearray([127])
    while rest >= 128:
        size.append(rest % 128 + 128)
        rest //= 128
    return bytes(size) + bytes([rest]) + text


class Reader:
    """Frames out of bytes in any pieces. The headers of a connection are told by reference to earlier ones, so one
    reader reads all of it; nghttp2 knows how."""

    def __init__(self) -> None:
        made = c_void_p()
        assert needed().nghttp2_hd_inflate_new(byref(made)) == 0
        self._inflater, self._rest = made, b""
        weakref.finalize(self, needed().nghttp2_hd_inflate_del, made)

    def read(self, new: bytes) -> list[Frame]:
        """Those that are complete now."""
        whole, start, found = self._rest + new, 0, []
        while len(whole) >= start + HEAD:
            body, end = start + HEAD, start + HEAD + int.from_bytes(whole[start : start + 3], "big")
            if end > len(whole):
                break
            found.append(self._frame(whole[start:body], whole[body:end]))
            start = end
        self._rest = whole[start:]
        return found

    def _frame(self, head: bytes, payload: bytes) -> Frame:
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        return Frame(kind, flags, stream, payload, self._headers(payload) if kind == HEADERS else {})

    def _headers(self, block: bytes) -> dict[bytes, bytes]:
        found, flags, pair = {}, c_int(), Pair()
        while not flags.value & FINAL:
            inflate = needed().nghttp2_hd_inflate_hd2
            done = inflate(self._inflater, byref(pair), byref(flags), block, c_int(len(block)), 1)
            assert done >= 0, "no headers"
            block = block[done:]
            if flags.value & EMIT:
                found[pair.name] = pair.value
        needed().nghttp2_hd_inflate_end_headers(self._inflater)
        return found
