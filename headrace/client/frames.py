"""Steps → the columns of a request frame, and how much of it each thing takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isinf

import numpy as np

from headrace.protos import sequences_pb2 as pb

from .step import Step

#: Bytes of tags and lengths in a frame, at most, whatever it carries.
HEAD = 64
#: Bytes of one cancelled step and of one closed key.
CANCEL, CLOSE = 12, 4
#: Bytes of a row's cells in all columns; of what stands around an Open, which may become a rejoin, and around a tensor.
_ROW, _OPEN, _TENSOR = 36, 8, 8

#: The longest timeout that is written, in µs; a longer one is as good.
_LONGEST = (1 << 63) - 1


def open_bytes(message: pb.Open) -> int:
    return message.ByteSize() + _OPEN


def step_bytes(step: Step) -> int:
    """A little more than it takes: its tensors' tags count as if it were alone in its frame."""
    return step.size + _ROW + _TENSOR * len(step.values)


def encode(steps: Sequence[Step], now: float) -> pb.Steps:
    """At least one step, all of one model; `now` in seconds."""
    return pb.Steps(
        keys=_column((s.key for s in steps), "<u4"),
        positions=_column((s.position for s in steps), "<i8"),
        lengths=_column((s.length for s in steps), "<i8"),
        acked=_column((s.acked for s in steps), "<i8"),
        timeouts_us=_column((_microseconds(s.deadline - now) for s in steps), "<u8"),
        values=[b"".join(rows) for rows in zip(*(s.values for s in steps), strict=True)],
    )


def cancels(steps: Sequence[Step]) -> pb.Cancels:
    return pb.Cancels(
        keys=_column((s.key for s in steps), "<u4"), positions=_column((s.position for s in steps), "<i8")
    )


def keys(values: Iterable[int]) -> bytes:
    return _column(values, "<u4")


def _microseconds(left: float) -> int:
    """0 stands for no timeout, so late ones get 1: they are applied already, and sent again for their answers."""
    return 0 if isinf(left) else max(1, int(min(left * 1e6, _LONGEST)))


def _column(cells: Iterable[int], dtype: str) -> bytes:
    return np.fromiter(cells, dtype).tobytes()
