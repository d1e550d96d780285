"""Steps → the columns of a request frame, and how much of it each thing takes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import isinf

from headrace.protos import sequences_pb2 as pb

from .step import Step

#: Bytes of tags and lengths in a frame, at most, whatever it carries.
HEAD = 64
#: Bytes of one cancelled step and of one closed key.
CANCEL, CLOSE = 12, 4
#: Bytes of what stands around an Open, which may become a rejoin.
_OPEN = 8

#: The longest timeout that is written, in µs; a longer one is as good.
_LONGEST = 1e18


def open_bytes(message: pb.Open) -> int:
    return message.ByteSize() + _OPEN


def encode(steps: Sequence[Step], now: float) -> pb.Steps:
    """At least one step, all of one model; `now` in seconds."""
    return pb.Steps(
        keys=keys([s.key for s in steps]),
        positions=_positions([s.position for s in steps]),
        lengths=_positions([s.length for s in steps]),
        acked=_positions([s.acked for s in steps]),
        timeouts_us=_timeouts([(s.deadline - now) * 1e6 for s in steps]),
        values=[b"".join(rows) for rows in zip(*[s.values for s in steps], strict=True)],
    )


def cancels(steps: Sequence[Step]) -> pb.Cancels:
    return pb.Cancels(keys=keys([s.key for s in steps]), positions=_positions([s.position for s in steps]))


def keys(cells: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(cells)}I", *cells)


def _positions(cells: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(cells)}q", *cells)


def _timeouts(left: Sequence[float]) -> bytes:
    """In µs."""
    return struct.pack(f"<{len(left)}Q", *[int(us) if 1 <= us <= _LONGEST else _bounded(us) for us in left])


def microseconds(seconds: float) -> int:
    """Of a timeout, inf for none."""
    return _bounded(seconds * 1e6)


def _bounded(us: float) -> int:
    """0 stands for no timeout, so late ones get 1: they are applied already, and sent again for their answers."""
    return 0 if isinf(us) else int(max(1, min(us, _LONGEST)))
