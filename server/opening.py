"""Opens and closes: who owns a sequence, and from which position it goes on."""

from __future__ import annotations

import numpy as np

from headrace.errors import AlreadyExists, HeadraceError, TakenOver, UnknownSequence

from .commands import Close, Mode, NamedSteps, Open
from .handles import TAKEN, UNKNOWN, why
from .state import State
from .steps import Answers, Array, Failed, Opened, Sink, failures

#: Incarnation of sequences that were begun by a named step: no client knows it, so none resumes by it unawares.
NO_INCARNATION = 0

#: Number of a name under which no sequence lives. As an index it finds a place that is not looked at.
NOT_LIVE = -1

#: Modes that never begin a sequence.
GOING_ON = (Mode.RESUME, Mode.REJOIN)


def open_sequence(state: State, command: Open, version: str, now: float) -> Answers:
    """Answered by Opened, or by Failed: AlreadyExists, UnknownSequence, TakenOver, Overloaded or InvalidInput.

    All that can be refused is refused before anything changes, so that answers to other callers are never lost.
    """
    try:
        live = _permitted(state, command)
    except HeadraceError as error:
        return [(command.sink, Failed(command.key, None, error))]
    told = _vacate(state, command, live) if live is not None else []
    number = state.sequences.names.get(command.name)
    resumed = number is not None
    if number is None:
        number = state.sequences.create(command.name, command.incarnation, now)
        state.start(number, command.source)
    state.sequences.incarnation[number] = command.incarnation
    return [*told, (command.sink, enter(state, command.sink, command.key, number, version, now, resumed=resumed))]


def _vacate(state: State, command: Open, live: int) -> Answers:
    """The old owner loses the live sequence; it is gone then if it was closing, or is another and to be replaced."""
    told = _take_over(state, command, live)
    still = state.sequences.names.get(command.name) == live
    if still and command.mode is Mode.REPLACE and not _same(state, command, live):
        state.remove(live, TAKEN)
    return told


def enter(state: State, sink: Sink, key: int, number: int, version: str, now: float, *, resumed: bool) -> Opened:
    """The sequence belongs to the caller from now on, under this key."""
    sequences = state.sequences
    sequences.used[number], sequences.owner[number], sequences.key[number] = now, sink, key
    state.handles[sink][key] = number
    return Opened(key, version, int(sequences.position[number]), resumed=resumed)


def _permitted(state: State, command: Open) -> int | None:
    """The live sequence of that name, if any. Raises for what must not be, before anything changes."""
    handles, live = state.handles[command.sink], state.sequences.names.get(command.name)
    if handles[command.key] >= 0 and handles[command.key] != live:
        raise AlreadyExists(f"key {command.key} is another live sequence of this connection; choose a free key")
    if command.mode in GOING_ON and (live is None or state.sequences.closing[live]):
        raise _not_live(command)
    if live is not None and command.mode is Mode.REJOIN and not _same(state, command, live):
        raise TakenOver(f"another client took over sequence {command.name[1]!r}; resume it to take it back")
    if live is not None and command.mode is Mode.FRESH and not _same(state, command, live):
        raise AlreadyExists(f"sequence {command.name[1]!r} is live; resume it, replace it, or choose another id")
    if live is None:
        state.sequences.require_room()
    if live is None or (command.mode is Mode.REPLACE and not _same(state, command, live)):
        state.require_source(command.source)
    if handles[command.key] < 0:
        handles[command.key] = UNKNOWN  # raises if the key is too large
    return live


def _same(state: State, command: Open, number: int) -> bool:
    incarnation = int(state.sequences.incarnation[number])
    return incarnation == command.incarnation != NO_INCARNATION


def _not_live(command: Open) -> UnknownSequence:
    return UnknownSequence(f"sequence {command.name[1]!r} is not live here (closed, expired or never begun); open it")


def _take_over(state: State, command: Open, number: int) -> Answers:
    """The old owner's queued rows are cancelled and it is told, unless it is the new owner too.

    Who was to hear Closed hears that and no more: the sequence has left, as it wished.
    """
    owner, key = state.sequences.owner[number], int(state.sequences.key[number])
    closing = bool(state.sequences.closing[number])
    error = TakenOver("another open took over this sequence; resume it to take it back")
    answers = state.fail_all(number, error)
    if owner is not None and not closing and (owner, key) != (command.sink, command.key):
        state.handles[owner][key] = TAKEN
        answers.append((owner, Failed(key, None, error)))
    return answers


def close(state: State, command: Close) -> Answers:
    """Marks the sequences; those with nothing pending leave at once."""
    answers: Answers = []
    handles = state.handles[command.sink]
    for key in command.keys:
        number = handles[key]
        if number < 0:
            answers.append((command.sink, Failed(key, None, why(number, key))))
        else:
            state.sequences.closing[number] = True
            answers += state.close_due(np.array([number]))
    return answers


def find_named(state: State, command: NamedSteps, now: float) -> tuple[Array, Answers]:
    """The numbers [rows] of the rows' sequences, begun anew where a row says `start`; and what is told of that, to
    others and to the rows that fail, whose numbers are NOT_LIVE. Each name is there once.

    A live sequence of the name of a start answers what it has queued and leaves; its name is free at once.
    """
    answers: Answers = []
    numbers = np.array([state.sequences.names.get(name, NOT_LIVE) for name in command.names], np.int64)
    unusual = command.starts | (numbers < 0) | state.sequences.closing[numbers]
    for row in np.flatnonzero(unusual).tolist() if np.count_nonzero(unusual) else ():
        try:
            numbers[row], told = _start(state, command, row, now)
        except HeadraceError as error:
            numbers[row], told = NOT_LIVE, failures(command.steps.take(np.array([row])), error)
        answers += told
    return numbers, answers


def _start(state: State, command: NamedSteps, row: int, now: float) -> tuple[int, Answers]:
    """The sequence that the row begins. Raises, before anything changes, UnknownSequence if it does not say `start`;
    Overloaded if there is no room; InvalidInput if the model begins with a source, for a row cannot carry one."""
    name = command.names[row]
    if not command.starts[row]:
        raise UnknownSequence(f"sequence {name[1]!r} is not live; its first request must set sequence_start")
    state.require_source(())
    told = _restart(state, state.sequences.names.get(name))
    return state.sequences.create(name, NO_INCARNATION, now), told


def _restart(state: State, live: int | None) -> Answers:
    """Frees the name for a new sequence, for which there is room then. Raises Overloaded if there would be none."""
    if live is None or state.sequences.pending[live]:
        state.sequences.require_room()
    if live is None:
        return []
    state.sequences.detach(live)
    return state.close_due(np.array([live]))
