"""The usual frame, admitted in few operations; and frames of several callers that came together, by one set of columns.

Frames that come while a batch runs wait for each other's sake anyway. What is asked of every row is asked of all of
them at once, for the operations cost about the same for one frame and for many.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from headrace.spec import ModelSpec

from .checks import problems
from .state import State
from .steps import Array, Rows, Steps, holds, pack, same

log = logging.getLogger(__name__)


def straight_on(spec: ModelSpec, state: State, numbers: Array, positions: Rows, lengths: Rows, acked: Rows) -> bool:
    """Whether every row begins where its sequence stands, and the one reply that was kept of it has arrived: its room
    is the next reply's then, and the row is admitted but for the queue. Else nothing is done.

    Columns [rows] of different live sequences; lengths are allowed ones.
    """
    return (
        spec.chunk.exactly is None
        and same(state.sequences.expected[numbers], positions)
        and not np.count_nonzero(state.sequences.closing[numbers])
        and state.kept.pass_on(numbers, lengths, acked)
    )


def together(spec: ModelSpec, state: State, frames: Sequence[Steps], now: float) -> bool:
    """Admits these frames if all of them are usual, and nothing is pending of their sequences; else does nothing."""
    if not spec.stateful or not _allowed(spec, frames):
        return False
    frames = [frame.numbered(state.handles[frame.sink].lookup(frame.keys)) for frame in frames]
    numbers, positions = pack(frames, "numbers"), pack(frames, "positions")
    lengths, acked = pack(frames, "lengths"), pack(frames, "acked")
    sequences = state.sequences
    usual = (
        holds(numbers >= 0)
        and sequences.distinct(numbers)
        and not np.count_nonzero(sequences.pending[numbers])
        and straight_on(spec, state, numbers, positions, lengths, acked)
    )
    if usual:
        sequences.used[numbers], sequences.pending[numbers] = now, 1
        sequences.expected[numbers] = positions + lengths
        for frame in frames:
            state.scheduler.add(frame)
    return usual


def _allowed(spec: ModelSpec, frames: Sequence[Steps]) -> bool:
    """Whether the spec allows every row; not if that cannot be told, for then each frame is asked by itself."""
    try:
        return not any(True for frame in frames for _ in problems(spec, frame))
    except Exception:
        log.exception("frames could not be checked together")
        return False
