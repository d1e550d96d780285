"""What stands before a call's messages and behind them: headers and trailers (PROTOCOL-HTTP2.md of gRPC)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import grpc

from .messages import ENCODINGS, Metadata, Refused
from .stream import Headers

ENCODING = (b"grpc-accept-encoding", b",".join([b"identity", *ENCODINGS]))
RESPONSE: Headers = ((b":status", b"200"), (b"content-type", b"application/grpc"), ENCODING)

#: Seconds of the units in which a client says how long it waits.
UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")

#: Bytes of a status message as it travels, in a header: clients bound those, some to 8 KiB in all.
DETAILS = 4096

#: What a status message may hold as it is: printable ASCII but the percent sign.
PLAIN = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")


@dataclass(frozen=True, slots=True)
class Head:
    """Of a request. timeout: seconds that the client will wait, None if it does not say."""

    method: str
    timeout: float | None
    encoding: bytes | None


def not_grpc(head: Mapping[bytes, bytes]) -> Headers | None:
    """What HTTP answers to a request that is none of gRPC's; None if it is."""
    if head.get(b":method") != b"POST":
        return ((b":status", b"405"), (b"allow", b"POST"))
    if not re.fullmatch(rb"application/grpc(\+proto)?(;.*)?", head.get(b"content-type", b"")):
        return ((b":status", b"415"),)
    return None


def read_head(head: Mapping[bytes, bytes]) -> Head:
    """Raises Refused."""
    encoding = head.get(b"grpc-encoding")
    if encoding is not None and encoding != b"identity" and encoding not in ENCODINGS:
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"messages in the encoding {encoding!r} cannot be read")
    return Head(head[b":path"].decode("latin-1"), _timeout(head.get(b"grpc-timeout")), encoding)


def _timeout(value: bytes | None) -> float | None:
    if value is None:
        return None
    if (found := TIMEOUT.fullmatch(value)) is None:
        raise Refused(grpc.StatusCode.INTERNAL, f"the timeout {value!r} is no time")
    return int(found[1]) * UNITS[found[2]]


def trailers(status: grpc.StatusCode, details: str = "", metadata: Metadata = ()) -> Headers:
    """What ends a call."""
    number, _ = status.value
    found = [(b"grpc-status", b"%d" % number)]
    if details:
        found.append((b"grpc-message", _message(details)))
    return [*found, *((name.encode(), value.encode()) for name, value in metadata)]


def _message(details: str) -> bytes:
    """Escaped and bounded; not in the midst of an escaped byte."""
    escaped = quote(details, safe=PLAIN, errors="replace")[:DETAILS]
    return re.sub("%.?$", "", escaped).encode()
