"""After the run and the journal: the commit swaps slot numbers, and every row gets its answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, ModelFailed

from .batch import Outcome
from .sequences import FRESH
from .state import State
from .steps import NEVER_AGAIN, STATELESS, Answers, Array, Outputs, Rows, Stepped, Steps, holds, occurs, pack


def commit(state: State, pieces: Sequence[Steps], write: Rows, outcome: Outcome, now: float) -> Answers:
    """Sound rows are applied, kept and answered; the others fail and leave their sequences as they were.

    write: the slots with the new states, [rows] of all pieces.
    """
    if not pieces:
        return []
    if holds(outcome.sound):
        return _apply(state, pieces, write, outcome.outputs, now)
    sound, failed = _sorted(pieces, outcome.sound)
    if pieces[0].numbers[0] != STATELESS:
        state.slots.give(write[~outcome.sound])
    answers = _apply(state, sound, write[outcome.sound], outcome.outputs.take(outcome.sound), now)
    # Last, for it cannot fail: rows behind these leave the queue, and only the answers know of them then.
    return answers + [answer for piece in failed for answer in state.fail(piece, _unsound())]


def roll_back(state: State, pieces: Sequence[Steps], write: Rows, error: HeadraceError) -> Answers:
    """Nothing of the pieces is applied: the slots that were written are free again, every row fails with `error`."""
    if not pieces or pieces[0].numbers[0] != STATELESS:  # without pieces it was rows under way that ran
        state.slots.give(write)
    return [answer for piece in pieces for answer in state.fail(piece, error)]


def _sorted(pieces: Sequence[Steps], sound: NDArray[np.bool_]) -> tuple[list[Steps], list[Steps]]:
    """The pieces without the unsound rows, and those rows; sound [rows] of all pieces."""
    masks = np.split(sound, np.cumsum([len(piece) for piece in pieces])[:-1])
    good = [piece.take(mask) for piece, mask in zip(pieces, masks, strict=True) if mask.any()]
    bad = [piece.take(~mask) for piece, mask in zip(pieces, masks, strict=True) if not mask.all()]
    return good, bad


def _apply(state: State, pieces: Sequence[Steps], write: Rows, outputs: Outputs, now: float) -> Answers:
    """The rows are answered and their replies kept; the next rows of these sequences may run."""
    answers: Answers = [
        (piece.sink, Stepped(piece.keys, piece.positions, piece.lengths, cells))
        for piece, cells in zip(pieces, _parts(pieces, outputs), strict=True)
    ]
    if not pieces or pieces[0].numbers[0] == STATELESS:
        return answers
    numbers, ends = pack(pieces, "numbers"), pack(pieces, "positions") + pack(pieces, "lengths")
    _swap_slots(state, numbers, write)
    state.sequences.position[numbers] = ends
    state.sequences.used[numbers] = now
    _keep(state, pieces, numbers, ends, outputs)
    state.sequences.pending[numbers] -= 1
    state.scheduler.settle(numbers)
    return answers + state.close_due(numbers)


def _swap_slots(state: State, numbers: Array, write: Rows) -> None:
    """The written slots are the sequences' own, and those that were read are free."""
    old = state.sequences.slot[numbers]
    state.sequences.slot[numbers] = write
    held = old != FRESH
    state.slots.give(old if holds(held) else old[held])


def _keep(state: State, pieces: Sequence[Steps], numbers: Array, ends: Rows, outputs: Outputs) -> None:
    """Of the steps that may be sent again; ends [rows]: the positions behind them."""
    kept = pack(pieces, "acked") != NEVER_AGAIN
    if holds(kept):
        state.kept.keep(numbers, ends, outputs)
    elif occurs(kept):
        state.kept.keep(numbers[kept], ends[kept], outputs.take(kept))


def _parts(pieces: Sequence[Steps], outputs: Outputs) -> list[tuple[Array, ...]]:
    """Of each piece its outputs, as views."""
    if len(pieces) == 1:
        return [outputs.cells]
    parts, row, token = [], 0, 0
    for piece in pieces:
        told = len(piece) if piece.last_only else piece.tokens
        rows, tokens = slice(row, row + len(piece)), slice(token, token + told)
        parts.append(tuple([y[tokens if t else rows] for y, t in zip(outputs.cells, outputs.timed, strict=True)]))
        row, token = rows.stop, tokens.stop
    return parts


def _unsound() -> HeadraceError:
    return ModelFailed("the model failed on this step; its state is as it was before")
