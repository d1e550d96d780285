"""Prompts on the way to their texts: those that wait for a place, and those that are being read."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..commands import Fork, Mode, Open
from ..opening import NO_INCARNATION
from ..steps import Array, Sink
from .table import IDLE, Table
from .texts import Reading
from .turn import Turn


class Prompts:
    """most: rows of the table that may take a place in the lane's batch.

    A prompt is read by the row of its last copy; the others fork from there. If not all of them find places at once,
    that row is idle until they do, beyond `most`: of one prompt at a time, for the next one is not read before.

    Mutable: `_queue`, prompts of which copies have no place, in order; the first one may be being read, or be read.
    """

    def __init__(self, sink: Sink, table: Table, most: int) -> None:
        self._sink, self._table, self._most = sink, table, most
        self._queue: deque[Reading] = deque()

    def __bool__(self) -> bool:
        """Whether any waits for a place."""
        return bool(self._queue)

    def __repr__(self) -> str:
        return f"Prompts(waiting={len(self._queue)})"

    @property
    def unwritten(self) -> set[Reading]:
        """Those with copies that are no texts yet."""
        return {*tuple(self._queue), *(reading for _, reading in self._table.reading())}

    @property
    def soonest(self) -> float:
        """The first deadline of those that wait, in seconds."""
        return min((reading.command.deadline for reading in self._queue), default=np.inf)

    def add(self, reading: Reading) -> None:
        self._queue.append(reading)

    def forget(self, reading: Reading) -> None:
        """It is not wanted any more; its row, if it has one, is not looked at. Only the first that waits has one."""
        if self._queue and self._queue[0] is reading:
            self._queue.popleft()

    def leave(self, sink: Sink) -> None:
        """Forgets those of a caller that wait."""
        self._queue = deque(reading for reading in self._queue if reading.command.sink is not sink)

    def late(self, now: float) -> list[Reading]:
        """Takes out those that wait and whose deadline is before `now`, in seconds."""
        late = [reading for reading in self._queue if reading.command.deadline < now]
        self._queue = deque(reading for reading in self._queue if not reading.command.deadline < now)
        return late

    def clear(self) -> None:
        self._queue.clear()

    def fill(self, turn: Turn) -> None:
        """Gives free places to those that wait: for a prompt's first copy it is read, the others fork when it was."""
        room = self._most - self._table.busy if self._queue else 0
        while room > 0 and self._queue:
            reading = self._queue[0]
            reading.started += 1
            if not reading.waiting:
                self._queue.popleft()
            if reading.row is None:
                self._open(turn, reading)
            elif reading.logits is not None:
                self._branch(turn, reading.row, reading)
            room -= 1

    def read(self, turn: Turn, row: int, logits: Array) -> None:
        """The row has read a part of its prompt; logits [vocabulary] of the token behind it."""
        reading = self._table.readings[row]
        assert reading is not None, "a row that reads has a reading"
        if reading.done < len(reading.tokens):
            turn.parts.append(row)
        else:
            reading.logits = logits.copy()
            self._table.phase[row] = IDLE
            self._branch(turn, row, reading)

    def _open(self, turn: Turn, reading: Reading) -> None:
        row = self._table.open(reading)
        name, source = self._table.names[row], reading.prompt.source
        turn.opens.append(Open(self._sink, row, name, Mode.FRESH, NO_INCARNATION, source))

    def _branch(self, turn: Turn, row: int, reading: Reading) -> None:
        """The prompt is read: its copies that have places are written from here, the last one in its own sequence."""
        if due := reading.due():
            self._fork(turn, row, reading, due)
        if not reading.waiting:
            text = reading.text()
            self._table.write(row, text)
            turn.ready.append((np.array([row]), text.logits[None]))

    def _fork(self, turn: Turn, trunk: int, reading: Reading, copies: int) -> None:
        rows = tuple(self._table.fork(trunk, reading.text()) for _ in range(copies))
        names = tuple(self._table.names[row] for row in rows)
        turn.forks.append(Fork(self._sink, self._table.names[trunk], rows, names, NO_INCARNATION))
