"""After the run and the journal: the commit swaps slot numbers, and every row gets its answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, ModelFailed

from .batch import Batch, Outcome
from .sequences import FRESH
from .state import State, wants_reply_kept
from .steps import STATELESS, Answers, Outputs, Stepped, Steps, pack


def commit(state: State, pieces: Sequence[Steps], batch: Batch, outcome: Outcome, now: float) -> Answers:
    """Sound rows are applied, kept and answered; the others fail and leave their sequences as they were."""
    if pieces[0].numbers[0] != STATELESS:
        _swap_slots(state, pack(pieces, "numbers"), batch, outcome.sound, now)
    answers: Answers = []
    failed: list[Steps] = []
    begin = 0
    for piece in pieces:
        rows = slice(begin, begin + len(piece))
        sound = outcome.sound[rows]
        answers += _applied(state, piece.take(sound), outcome.outputs.part(rows).take(sound))
        if not sound.all():
            failed.append(piece.take(~sound))
        begin += len(piece)
    # Last, for it cannot fail: rows behind these leave the queue, and only the answers know of them then.
    return answers + [answer for piece in failed for answer in state.fail(piece, _unsound())]


def roll_back(state: State, pieces: Sequence[Steps], batch: Batch | None, error: HeadraceError) -> Answers:
    """Nothing of the tick is applied: the written slots are free again, every row fails with `error`.

    batch: None if it could not be assembled; no slots are taken then.
    """
    if batch is not None and pieces[0].numbers[0] != STATELESS:
        state.slots.give(batch.write.astype(np.int32))
    return [answer for piece in pieces for answer in state.fail(piece, error)]


def _swap_slots(state: State, numbers: NDArray[np.int32], batch: Batch, sound: NDArray[np.bool_], now: float) -> None:
    sequences, write = state.sequences, batch.write.astype(np.int32)
    old = sequences.slot[numbers]
    applied = numbers[sound]
    sequences.slot[applied] = write[sound]
    sequences.position[applied] += batch.lengths[sound]
    sequences.used[applied] = now
    unused = np.where(sound, old, write)
    state.slots.give(unused[unused != FRESH])


def _applied(state: State, piece: Steps, outputs: Outputs) -> Answers:
    """The rows are answered and their replies kept; the next rows of these sequences may run."""
    if not len(piece):
        return []
    answers: Answers = [(piece.sink, Stepped(piece.keys, piece.positions, piece.lengths, outputs.cells))]
    if piece.numbers[0] == STATELESS:
        return answers
    kept = wants_reply_kept(piece)
    if kept.any():
        state.kept.keep(piece.take(kept), outputs.take(kept))
    state.sequences.pending[piece.numbers] -= 1
    state.scheduler.settle(piece.numbers)
    return answers + state.close_due(piece.numbers)


def _unsound() -> HeadraceError:
    return ModelFailed("the model failed on this step; its state is as it was before")
