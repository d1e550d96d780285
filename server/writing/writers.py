"""The writer of a lane's texts: its own client, on its own thread, which turns answers into the next steps.

It knows neither clock nor engine: it opens sequences, has their prompts read, chooses each next token by the logits
that come back, and sends that. All its rows that a tick answers go on together, in one step command.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, ModelFailed, SequenceFull
from headrace.spec import ModelSpec

from ..commands import Generate, Request
from ..steps import Answer, Answers, Array, Closed, Ending, Failed, Opened, Rows, Sink, Stepped
from .ahead import Ahead
from .asked import beginning, refused, refused_prompt
from .outbox import Outbox
from .prompts import Prompts
from .sampling import choose
from .symbols import Symbols
from .table import CLOSING, FREE, NONE, OPENING, READING, WRITING, Table
from .texts import Reading
from .turn import Turn
from .waits import Waited

#: Endings by the words of `_why`.
ENDINGS = (None, Ending.END, Ending.MOST, Ending.FULL)


class Writers:
    """The sink of its own sequences, in a lane that keeps this up: answers to a sink that is this one go to `turn`; the
    commands that come of it are handled at once, their answers are the next turn's, until there are none; then a tick
    runs. After `begin` and `leave` a turn is due, without answers if there are none; so is one as soon as
    something is late.

    most: texts under way at a time, in rows of the lane's batch; others wait in order.

    Mutable: `_table`, rows that read and write; `_prompts` that wait; `_soonest`, seconds, before which none is late;
    `_ahead`, tokens of the step that the lane has not answered yet.
    """

    def __init__(self, spec: ModelSpec, most: int) -> None:
        self._spec, self._symbols = spec, Symbols(spec)
        self._table = Table(most + 1, (spec.inputs[0].vocabulary or 0) if spec.generation else 0)
        self._prompts = Prompts(self, self._table, most)
        self._soonest = np.inf
        self._ahead: Ahead | None = None
        self._end = -1 if spec.generation is None or spec.generation.end is None else spec.generation.end
        self._longest = np.iinfo(np.int64).max if spec.longest is None else spec.longest
        names = [output.name for output in spec.outputs]
        self._output = names.index(spec.generation.output) if spec.generation else 0

    def __bool__(self) -> bool:
        """Whether any text is under way or waits, or a sequence of one is not closed yet."""
        return bool(self._prompts) or len(self._table) > 0

    def __repr__(self) -> str:
        return f"Writers(writing={self.writing}, waiting={self.waiting})"

    @property
    def writing(self) -> int:
        """Texts that grow. It may be asked for from any thread, as `waiting` may."""
        return sum(1 for _ in self._table.writing())

    @property
    def waiting(self) -> int:
        """Texts that wait for a place, or for their prompt to be read."""
        return sum(reading.left for reading in self._prompts.unwritten)

    def waited(self) -> Waited:
        """How long callers waited for the tokens that were chosen since this was asked last."""
        return self._table.waits.take()

    def late(self, now: float) -> bool:
        """Whether a deadline may have passed: then a turn is due, though nothing is answered."""
        return now > self._soonest

    @property
    def soonest(self) -> float:
        """No deadline is before this, in seconds."""
        return self._soonest

    def ahead(self, keys: NDArray[np.uint32]) -> Ahead | None:
        """For the rows of a step whose answer is still to come, one token each; None unless all of them write."""
        rows = keys.astype(np.int64)
        if np.count_nonzero(self._table.phase[rows] == WRITING) < len(rows):
            return None
        self._ahead = Ahead(self._table, self._symbols, rows, self._output, self._end, self._longest)
        return self._ahead

    def portion(self, now: float) -> Answers:
        """Of the tokens ahead those that are not told."""
        told = Outbox()
        if self._ahead is not None:
            self._ahead.tell(told, now)
        return told.answers()

    def deliver(self, answer: Answer) -> None:
        """Nobody hears what leaves a lane for its own writers: that comes only of one that is broken."""

    def begin(self, command: Generate, now: float) -> Answers:
        """Its texts wait for places. What cannot be written is refused at once, by Failed with InvalidInput."""
        del now  # a text whose time is over is told so by its turn
        turn, wrong = Turn(), refused(self._spec, command)
        for number, prompt in enumerate(command.prompts):
            error, first = wrong or refused_prompt(self._spec, prompt), number * command.copies
            if error is not None:
                turn.told.fail(command.sink, range(first, first + max(1, command.copies)), error)
            else:
                self._prompts.add(Reading(command, prompt, beginning(self._spec, prompt), first))
        self._soonest = min(self._soonest, command.deadline)
        return turn.told.answers()

    def leave(self, sink: Sink) -> list[Request]:
        """Drops the texts of a caller that is gone; returns what frees their sequences."""
        turn = Turn()
        self._prompts.leave(sink)
        texts = [row for row, text in self._table.writing() if text.sink is sink]
        prompts = [row for row, reading in self._table.reading() if reading.command.sink is sink]
        for row in (*texts, *prompts):
            self._drop(turn, row)
        return turn.closes(self, self._table)

    def give_up(self, error: HeadraceError) -> Answers:
        """Every text fails, and nothing is asked of the lane any more: it is broken."""
        turn = Turn()
        for _, text in self._table.writing():
            turn.told.fail(text.sink, (text.key,), error)
        for reading in self._prompts.unwritten:
            turn.told.fail(reading.command.sink, reading.keys(), error)
        self._prompts.clear()
        for row in np.flatnonzero(self._table.phase != FREE).tolist():
            self._table.give(row)
        return turn.told.answers()

    def turn(self, answers: Sequence[tuple[Sink, Answer]], now: float) -> tuple[list[Request], Answers]:
        """What its sequences answered → what they go on with; and Wrote or Failed for callers, one Wrote for each."""
        turn = Turn()
        for _, answer in answers:
            self._hear(turn, answer, now)
        self._ahead = None
        if now > self._soonest:
            self._end_late(turn, now)
        self._prompts.fill(turn)
        if turn.ready:
            self._write(turn, now)
        return turn.commands(self, self._spec, self._table, now), turn.told.answers()

    # What the lane answers

    def _hear(self, turn: Turn, answer: Answer, now: float) -> None:
        match answer:
            case Stepped():
                if self._ahead is not None:
                    self._ahead.tell(turn.told, now)
                self._stepped(turn, answer)
            case Opened():
                self._opened(turn, answer.key)
            case Failed(key=int(key)):
                self._failed(turn, key, answer)
            case Closed():
                for row in answer.keys:
                    self._table.give(row)
            case _:
                raise TypeError(f"sequences are not answered so: {answer}")

    def _stepped(self, turn: Turn, answer: Stepped) -> None:
        rows, logits = answer.keys.astype(np.int64), answer.outputs[self._output]  # [rows, vocabulary]
        self._table.sent[rows] = NONE
        phase = self._table.phase[rows]
        if np.count_nonzero(phase == WRITING) < len(rows):
            for at in np.flatnonzero(phase == READING).tolist():
                self._prompts.read(turn, int(rows[at]), logits[at])
            rows, logits = rows[phase == WRITING], logits[phase == WRITING]
        turn.ready.append((rows, logits))

    def _opened(self, turn: Turn, row: int) -> None:
        """A sequence whose prompt is to be read now, or a copy of one that was."""
        if self._table.phase[row] != OPENING:
            return
        text = self._table.texts[row]
        if text is None:
            self._table.phase[row] = READING
            turn.parts.append(row)
        else:
            self._table.phase[row] = WRITING
            turn.ready.append((np.array([row]), text.logits[None]))

    def _failed(self, turn: Turn, row: int, failed: Failed) -> None:
        """A step failed; or, without position, the sequence was not opened, or is lost."""
        table = self._table
        if table.phase[row] == FREE:
            return
        table.sent[row] = NONE
        if table.phase[row] != CLOSING:
            self._break(turn, row, failed.error)
        if failed.position is None:
            table.give(row)
            turn.ended = [other for other in turn.ended if other != row]

    # Texts

    def _write(self, turn: Turn, now: float) -> None:
        """One more token of each text whose logits have come."""
        table = self._table
        rows, logits = self._sound(turn, *turn.logits(table))
        table.waits.chosen(rows, now)
        tokens = choose(logits, table.seen[rows], table.settings.take(rows), table.position[rows])
        for row, token, word in zip(rows.tolist(), tokens.tolist(), self._why(rows, tokens).tolist(), strict=True):
            self._add(turn, row, token, ENDINGS[word])
        going = table.phase[rows] == WRITING
        turn.tokens = rows[going], tokens[going]

    def _sound(self, turn: Turn, rows: Rows, logits: Array) -> tuple[Rows, Array]:
        """The rows by whose logits [rows, vocabulary] a token can be chosen; the others' texts fail."""
        sound = np.isfinite(logits.max(axis=1))  # NaN is the maximum wherever there is one
        if sound.all():
            return rows, logits
        for row in rows[~sound].tolist():
            self._break(turn, row, ModelFailed("the model's logits are not finite, so no next token can be chosen"))
        return rows[sound], logits[sound]

    def _why(self, rows: Rows, tokens: Rows) -> Rows:
        """[rows] the place in ENDINGS of what these tokens end their texts with, but for stop strings."""
        self._table.left[rows] -= 1
        full = np.where(self._table.position[rows] >= self._longest, 3, 0)
        most = np.where(self._table.left[rows] == 0, 2, full)
        return np.where(tokens == self._end, 1, most)

    def _add(self, turn: Turn, row: int, token: int, ending: Ending | None) -> None:
        """The model's own end of a text is none of its tokens."""
        if ending is Ending.END:
            return self._finish(turn, row, ending)
        text = self._table.text(row)
        told = text.add(token, self._symbols.of(token, goes_on=text.goes_on))
        if told.stopped:
            ending = Ending.STOP
        elif ending is not None:
            told = told.then(text.rest())
        turn.told.add(text.sink, text.key, told, ending)
        if ending is not None:
            self._drop(turn, row)

    # Ends

    def _end_late(self, turn: Turn, now: float) -> None:
        """Texts whose deadline is before `now`, those that wait among them."""
        for row in np.flatnonzero(self._table.deadline < now).tolist():
            self._finish(turn, row, Ending.LATE)
        for reading in self._prompts.late(now):
            turn.told.end(reading.command.sink, reading.keys(), Ending.LATE)
        self._soonest = min(self._prompts.soonest, float(self._table.deadline.min()))

    def _finish(self, turn: Turn, row: int, ending: Ending) -> None:
        """A row's text ends, or all those do that wait for its prompt; what was held back is told."""
        text, reading = self._table.texts[row], self._table.readings[row]
        if text is not None:
            turn.told.add(text.sink, text.key, text.rest(), ending)
        if reading is not None:
            turn.told.end(reading.command.sink, reading.keys(), ending)
        self._drop(turn, row)

    def _break(self, turn: Turn, row: int, error: HeadraceError) -> None:
        """The same by an error; a sequence that is full is none."""
        if isinstance(error, SequenceFull):
            return self._finish(turn, row, Ending.FULL)
        text, reading = self._table.texts[row], self._table.readings[row]
        if text is not None:
            turn.told.fail(text.sink, (text.key,), error)
        if reading is not None:
            turn.told.fail(reading.command.sink, reading.keys(), error)
        self._drop(turn, row)

    def _drop(self, turn: Turn, row: int) -> None:
        """Nothing more is told of the row, and its sequence closes."""
        reading = self._table.readings[row]
        if reading is not None:
            self._prompts.forget(reading)
        self._table.drop(row)
        turn.ended.append(row)
