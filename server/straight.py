"""The usual frame, admitted in few operations; and frames of several callers that came together, by one set of columns.

Frames that come while a batch runs wait for each other's sake anyway. What is asked of every row is asked of all of
them at once, for the operations cost about the same for one frame and for many.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from headrace.spec import ModelSpec

from .checks import values_fit
from .state import State
from .steps import Array, Rows, Steps, columns, holds, occurs, same, single

log = logging.getLogger(__name__)


def straight_on(spec: ModelSpec, state: State, numbers: Array, positions: Rows, lengths: Rows, acked: Rows) -> bool:
    """Whether every row begins where its sequence stands, and the one reply that was kept of it has arrived: its room
    is the next reply's then. Else nothing is done.

    Columns [rows] of different live sequences; lengths are allowed ones.
    """
    return (
        plain(spec)
        and same(state.sequences.expected[numbers], positions)
        and not occurs(state.sequences.closing[numbers])
        and single(lengths)
        and state.kept.pass_on(numbers, acked)
    )


def plain(spec: ModelSpec) -> bool:
    """Whether its sequences may go on for ever: neither lengths nor cells of caches bound them."""
    return spec.stateful and spec.chunk.exactly is None and not spec.caches


def together(spec: ModelSpec, state: State, frames: Sequence[Steps], now: float) -> bool:
    """Admits these frames if all of them are usual, and nothing is pending of their sequences; else does nothing.

    A sequence that is closing has something pending.
    """
    if not plain(spec) or not _of_different_callers(frames):
        return False
    lengths, positions, acked = columns(frames, "lengths", "positions", "acked")
    found = [state.handles[frame.sink].lookup(frame.keys) for frame in frames]
    numbers, sequences = found[0] if len(found) == 1 else np.concatenate(found), state.sequences
    usual = (
        single(lengths)
        and holds(numbers >= 0)
        and holds(sequences.pending[numbers] == 0)
        and same(sequences.expected[numbers], positions)
        and sequences.distinct(numbers)
        and allowed(spec, frames)
        and state.kept.pass_on(numbers, acked)
    )
    if usual:
        sequences.used[numbers], sequences.pending[numbers] = now, 1
        sequences.expected[numbers] = positions + 1
        for frame, own in zip(frames, found, strict=True):
            state.scheduler.add(frame.numbered(own))
    return usual


def go_on(spec: ModelSpec, state: State, steps: Steps, now: float) -> bool:
    """Admits tokens of the lane's own texts, one of each sequence, if nothing but cells has to be asked for; else does
    nothing. They were chosen from the vocabulary, and nobody will send them again: the checks of what comes from
    outside would find nothing, at a third of all that a lane costs such a tick."""
    sequences, ends = state.sequences, steps.positions + 1
    numbers = state.handles[steps.sink].lookup(steps.keys)
    usual = (
        single(steps.lengths)
        and holds(numbers >= 0)
        and same(sequences.expected[numbers], steps.positions)
        and not np.count_nonzero(sequences.pending[numbers])
        and (spec.longest is None or int(np.maximum.reduce(ends)) <= spec.longest)
        and state.budget.grow_all(numbers, ends)
    )
    if usual:
        sequences.used[numbers], sequences.pending[numbers], sequences.expected[numbers] = now, 1, ends
        state.scheduler.add(steps.numbered(numbers))
    return usual


def _of_different_callers(frames: Sequence[Steps]) -> bool:
    """One's second frame mostly goes on where its first ends."""
    return len(frames) == 1 or len({id(frame.sink) for frame in frames}) == len(frames)


def allowed(spec: ModelSpec, frames: Sequence[Steps]) -> bool:
    """Whether the spec allows all values. Not if that cannot be told, for then the usual checks say what is wrong."""
    try:
        return values_fit(spec, frames)
    except Exception:
        log.exception("frames could not be checked this way")
        return False
