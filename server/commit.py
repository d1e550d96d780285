"""After the run and the journal: the commit swaps slot numbers, and every row gets its answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, ModelFailed

from .batch import Outcome
from .sequences import FRESH
from .single import applied
from .state import State
from .steps import NEVER_AGAIN, STATELESS, Answers, Array, Outputs, Rows, Stepped, Steps, columns, holds, occurs


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
    if len(pieces) == len(write) == 1 and pieces[0].numbers.item() != STATELESS:
        return applied(state, pieces[0], write, outputs, now)
    answers = _answers(pieces, outputs)
    if not pieces or pieces[0].numbers[0] == STATELESS:
        return answers
    numbers, positions, lengths, acked = columns(pieces, "numbers", "positions", "lengths", "acked")
    ends = positions + lengths
    _swap_slots(state, numbers, write)
    state.sequences.position[numbers] = ends
    state.sequences.used[numbers] = now
    _keep(state, acked, numbers, ends, outputs)
    state.sequences.pending[numbers] -= 1
    state.scheduler.settle(numbers)
    return answers + state.close_due(numbers)


def _swap_slots(state: State, numbers: Array, write: Rows) -> None:
    """The written slots are the sequences' own, and those that were read are free."""
    old = state.sequences.slot[numbers]
    state.sequences.slot[numbers] = write
    held = old != FRESH
    state.slots.give(old if holds(held) else old[held])


def _keep(state: State, acked: Rows, numbers: Array, ends: Rows, outputs: Outputs) -> None:
    """Of the steps that may be sent again; ends [rows]: the positions behind them."""
    kept = acked != NEVER_AGAIN
    if holds(kept):
        state.kept.keep(numbers, ends, outputs)
    elif occurs(kept):
        state.kept.keep(numbers[kept], ends[kept], outputs.take(kept))


def _answers(pieces: Sequence[Steps], outputs: Outputs) -> Answers:
    """To each piece its outputs, as views."""
    if len(pieces) == 1:
        (piece,) = pieces
        return [(piece.sink, Stepped(piece.keys, piece.positions, piece.lengths, outputs.cells))]
    answers: Answers = []
    row = token = 0
    for piece in pieces:
        end = row + len(piece.lengths)
        told = token + (end - row if piece.last_only else piece.tokens)
        cells = tuple([y[token:told] if t else y[row:end] for y, t in zip(outputs.cells, outputs.timed, strict=True)])
        answers.append((piece.sink, Stepped(piece.keys, piece.positions, piece.lengths, cells)))
        row, token = end, told
    return answers


def _unsound() -> HeadraceError:
    return ModelFailed("the model failed on this step; its state is as it was before")
