"""Steps → the columns of a request frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from headrace.protos import sequences_pb2 as pb

from .step import Step


def encode(steps: Sequence[Step], now: float) -> pb.Steps:
    """At least one step, all of one model; `now` in seconds.

    Late ones among them are applied already and sent again for their answers; 0 µs would mean no timeout.
    """
    return pb.Steps(
        keys=_column((s.key for s in steps), "<u4"),
        positions=_column((s.position for s in steps), "<i8"),
        lengths=_column((s.length for s in steps), "<i8"),
        acked=_column((s.acked for s in steps), "<i8"),
        timeouts_us=_column((max(1, int((s.deadline - now) * 1e6)) for s in steps), "<u8"),
        values=[b"".join(rows) for rows in zip(*(s.values for s in steps), strict=True)],
    )


def cancels(steps: Sequence[tuple[int, int]]) -> pb.Cancels:
    """(key, position) of each."""
    return pb.Cancels(keys=_column((k for k, _ in steps), "<u4"), positions=_column((p for _, p in steps), "<i8"))


def keys(values: Iterable[int]) -> bytes:
    return _column(values, "<u4")


def _column(cells: Iterable[int], dtype: str) -> bytes:
    return np.fromiter(cells, dtype).tobytes()
