"""Opens and closes: who owns a sequence, and from which position it goes on."""

from __future__ import annotations

import numpy as np

from headrace.errors import AlreadyExists, HeadraceError, TakenOver, UnknownSequence

from .commands import Close, Mode, NamedStep, Open
from .handles import TAKEN, UNKNOWN, why
from .state import State
from .steps import Answers, Failed, Opened

#: Incarnation of sequences that were begun by a named step: no client knows it, so none resumes by it unawares.
NO_INCARNATION = 0

#: Modes that never begin a sequence.
GOING_ON = (Mode.RESUME, Mode.REJOIN)


def open_sequence(state: State, command: Open, version: str, now: float) -> Answers:
    """Answered by Opened, or by Failed: AlreadyExists, UnknownSequence, TakenOver, Overloaded or InvalidInput."""
    try:
        return _open(state, command, version, now)
    except HeadraceError as error:
        return [(command.sink, Failed(command.key, None, error))]


def _open(state: State, command: Open, version: str, now: float) -> Answers:
    live = _permitted(state, command)
    told: Answers = []
    if live is not None:
        told = _take_over(state, command, live)
        live = state.sequences.names.get(command.name)  # a sequence that was closing is gone now
    if live is not None and command.mode is Mode.REPLACE and not _same(state, command, live):
        state.remove(live, TAKEN)
        live = None
    if live is None and command.mode in GOING_ON:
        raise _not_live(command)
    number = state.sequences.create(command.name, command.incarnation, now) if live is None else live
    state.sequences.incarnation[number] = command.incarnation
    state.sequences.owner[number], state.sequences.key[number] = command.sink, command.key
    state.sequences.used[number] = now
    state.handles[command.sink][command.key] = number
    position = int(state.sequences.position[number])
    return [*told, (command.sink, Opened(command.key, version, position, resumed=live is not None))]


def _permitted(state: State, command: Open) -> int | None:
    """The live sequence of that name, if any. Raises for what must not be, before anything changes."""
    handles, live = state.handles[command.sink], state.sequences.names.get(command.name)
    if handles[command.key] >= 0 and handles[command.key] != live:
        raise AlreadyExists(f"key {command.key} is another live sequence of this connection; choose a free key")
    if live is None and command.mode in GOING_ON:
        raise _not_live(command)
    if live is not None and command.mode is Mode.REJOIN and not _same(state, command, live):
        raise TakenOver(f"another client took over sequence {command.name[1]!r}; resume it to take it back")
    if live is not None and command.mode is Mode.FRESH and not _same(state, command, live):
        raise AlreadyExists(f"sequence {command.name[1]!r} is live; resume it, replace it, or choose another id")
    if handles[command.key] < 0:
        handles[command.key] = UNKNOWN  # raises if the key is too large
    return live


def _same(state: State, command: Open, number: int) -> bool:
    incarnation = int(state.sequences.incarnation[number])
    return incarnation == command.incarnation != NO_INCARNATION


def _not_live(command: Open) -> UnknownSequence:
    return UnknownSequence(f"sequence {command.name[1]!r} is not live here (closed, expired or never begun); open it")


def _take_over(state: State, command: Open, number: int) -> Answers:
    """The old owner's queued rows are cancelled and it is told, unless it is the new owner too."""
    owner, key = state.sequences.owner[number], int(state.sequences.key[number])
    error = TakenOver("another open took over this sequence; resume it to take it back")
    answers = state.fail_all(number, error)
    if owner is not None and (owner, key) != (command.sink, command.key):
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
            answers += state.close_due(np.array([number], np.int32))
    return answers


def start_named(state: State, command: NamedStep, now: float) -> int:
    """The number of the step's sequence, begun anew if the step says `start`.

    A live sequence of that name then answers what it has queued and leaves; its name is free at once.
    Raises UnknownSequence if none is live and the step does not say `start`; Overloaded if there is no room.
    """
    live = state.sequences.names.get(command.name)
    if not command.start:
        if live is None or state.sequences.closing[live]:
            raise UnknownSequence(
                f"sequence {command.name[1]!r} is not live; its first request must set sequence_start"
            )
        return live
    if live is not None:
        state.sequences.detach(live)
        state.close_due(np.array([live], np.int32))
    return state.sequences.create(command.name, NO_INCARNATION, now)
