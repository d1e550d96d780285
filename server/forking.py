"""Forks: a sequence goes on as others too, from where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from headrace.errors import AlreadyExists, Overloaded, UnknownSequence

from .commands import Fork
from .handles import UNKNOWN
from .opening import enter
from .sequences import FRESH
from .state import State, no_cells
from .steps import Answers, Rows

T = TypeVar("T")

Copy = Callable[[int, int, int, Rows, Rows], None]
"""The engine's `fork`."""


def fork(state: State, copy: Copy, command: Fork, version: str, now: float) -> Answers:
    """Opened for each new sequence. All of them come to be, or none.

    Raises UnknownSequence, AlreadyExists, Overloaded, or what the engine raises; then nothing has changed.
    """
    source = _forkable(state, command)
    slot, length = int(state.sequences.slot[source]), int(state.sequences.position[source])
    numbers = np.array([state.sequences.create(name, command.incarnation, now) for name in command.names], np.int64)
    slots = state.slots.take(len(numbers)) if slot != FRESH else numbers[:0]
    try:
        _reserve(state, source, numbers)
        copy(source, slot, length, numbers, slots)
    except BaseException:
        _undo(state, numbers, slots)
        raise
    state.sequences.slot[numbers] = slots if slot != FRESH else FRESH
    state.sequences.position[numbers] = state.sequences.expected[numbers] = length
    state.sequences.used[source] = now
    pairs = zip(command.keys, numbers.tolist(), strict=True)
    return [
        (command.sink, enter(state, command.sink, key, number, version, now, resumed=False)) for key, number in pairs
    ]


def _forkable(state: State, command: Fork) -> int:
    """The live source. Raises before anything changes."""
    source = state.sequences.names.get(command.name)
    if source is None or state.sequences.closing[source]:
        raise UnknownSequence(f"sequence {command.name[1]!r} is not live here (closed, expired or never begun)")
    if taken := _taken(state, command):
        raise AlreadyExists(f"{taken} is live; choose another id for the fork")
    if len(state.sequences) + len(command.names) > state.sequences.capacity:
        raise Overloaded(
            f"there is no room for {len(command.names)} more sequences in this lane; close some", retry_after=1.0
        )
    for key in command.keys:
        state.handles[command.sink][key] = UNKNOWN  # raises if the key is too large
    return source


def _taken(state: State, command: Fork) -> str:
    """What of the new sequences is in use, in words; empty if nothing is."""
    handles, names = state.handles[command.sink], state.sequences.names
    if (name := _unfit(command.names, names.__contains__)) is not None:
        return f"sequence {name[1]!r}"
    key = _unfit(command.keys, lambda key: handles[key] >= 0)
    return "" if key is None else f"key {key} of this connection"


def _unfit(given: Iterable[T], live: Callable[[T], bool]) -> T | None:
    """The first that is live, or stands there twice. In one pass: a fork may ask for tens of thousands."""
    seen = set[T]()
    for each in given:
        if live(each) or each in seen:
            return each
        seen.add(each)
    return None


def _reserve(state: State, source: int, numbers: Rows) -> None:
    if not state.budget.copy(source, numbers):
        raise no_cells()


def _undo(state: State, numbers: Rows, slots: Rows) -> None:
    for number in numbers.tolist():
        state.remove(number, UNKNOWN)
    state.slots.give(slots)
