"""What comes of one turn: the steps that go on, and what is asked of the lane beside them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headrace.spec import ModelSpec

from ..commands import Cancel, Close, Request, Step
from ..steps import NEVER_AGAIN, STATELESS, Array, Rows, Sink, Steps
from .outbox import Outbox
from .table import NONE, READING, WRITING, Table


@dataclass(slots=True)
class Turn:
    """Gathered in the course of a turn. Mutable: all of it.

    ready: rows [n] and the logits [n, vocabulary] of their next tokens. parts: rows that read on. ended: rows to be
    closed. tokens: of rows that write on, the rows and their tokens, [n] each.
    """

    told: Outbox = field(default_factory=Outbox)
    ready: list[tuple[Array, Array]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    opens: list[Request] = field(default_factory=list)
    forks: list[Request] = field(default_factory=list)
    tokens: tuple[Rows, Rows] = field(default_factory=lambda: (np.zeros(0, np.int64), np.zeros(0, np.int64)))

    def logits(self, table: Table) -> tuple[Array, Array]:
        """Rows [n] that still write, and the logits [n, vocabulary] of their next tokens; some rows are ready."""
        rows = np.concatenate([rows for rows, _ in self.ready])
        logits = np.concatenate([logits for _, logits in self.ready]) if len(self.ready) > 1 else self.ready[0][1]
        still = table.phase[rows] == WRITING
        return (rows, logits) if still.all() else (rows[still], logits[still])

    def commands(self, sink: Sink, spec: ModelSpec, table: Table, now: float) -> list[Request]:
        """In the order in which they are to be handled: what is forked may end or go on in the same turn, and what
        leaves makes room for what comes."""
        steps = self._steps(sink, spec, table, now)
        return [*self.forks, *self.closes(sink, table), *self.opens, *([Step(steps)] if len(steps) else [])]

    def closes(self, sink: Sink, table: Table) -> list[Request]:
        """Steps of what ended are not waited for."""
        rows = np.array(self.ended, np.int64)
        waiting = rows[table.sent[rows] != NONE]
        cancels: list[Request] = [Cancel(sink, waiting.astype(np.uint32), table.sent[waiting])] if len(waiting) else []
        return [*cancels, *([Close(sink, tuple(self.ended))] if self.ended else [])]

    def _steps(self, sink: Sink, spec: ModelSpec, table: Table, now: float) -> Steps:
        """One step of each row that goes on: a token, or the next part of a prompt; what comes next is chosen by the
        last token alone."""
        rows, tokens = self.tokens
        positions, lengths = table.advance(rows, tokens), np.ones(len(rows), np.int64)
        reads = [self._part(spec, table, row) for row in self.parts if table.phase[row] == READING]
        if reads:
            rows = np.concatenate([rows, [row for row, _, _ in reads]])
            positions = np.concatenate([positions, [position for _, position, _ in reads]])
            lengths = np.concatenate([lengths, [len(part) for _, _, part in reads]])
            tokens = np.concatenate([tokens, *(part for _, _, part in reads)])
        return Steps(
            sink=sink,
            keys=rows.astype(np.uint32),
            numbers=np.full(len(rows), STATELESS, np.int64),
            positions=positions,
            lengths=lengths,
            acked=np.full(len(rows), NEVER_AGAIN),
            deadlines=np.full(len(rows), np.inf),
            arrived=now,
            values=(tokens.astype(spec.inputs[0].dtype, copy=False),),
            last_only=True,
        )

    def _part(self, spec: ModelSpec, table: Table, row: int) -> tuple[int, int, Rows]:
        """The next part of a prompt, as long as a step may be: row, position, tokens [time]."""
        reading = table.readings[row]
        assert reading is not None, "a row that reads has a reading"
        part = reading.tokens[reading.done : reading.done + spec.chunk.longest]
        reading.done += len(part)
        return row, table.read(row, part), part
