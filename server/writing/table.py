"""The sequences in which texts are written, in columns: a row is a sequence, and the key by which the lane names it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..commands import Sampling
from ..sequences import Name
from ..steps import Rows
from .sampling import Settings
from .texts import Reading, Text
from .waits import Waits

#: What a row does. A free one is nobody's. An idle one has read a prompt, and waits for copies of it to be made. The
#: others take a place in the lane's batch: a sequence that is being opened, that reads, that writes, that is closing.
FREE, IDLE, OPENING, READING, WRITING, CLOSING = range(6)

#: `sent` of a row of which no step is under way.
NONE = -1


class Table:
    """Columns [rows]; a row has a reading or a text, but for free and closing ones.

    Mutable, all of it: `position`, tokens that were sent; `sent`, where the step under way begins; `left`, tokens that
    the text may have yet; `seen` [rows, vocabulary], tokens of the sequence so far; the free rows, used last first.
    """

    def __init__(self, rows: int, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._free = list(range(rows - 1, -1, -1))
        self._serial = 0
        self.phase = np.full(rows, FREE, np.int8)
        self.position, self.left = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self.sent = np.full(rows, NONE, np.int64)
        self.deadline = np.full(rows, np.inf)
        self.seen = np.zeros((rows, vocabulary), np.bool_)
        self.settings = Settings.of([Sampling()] * rows, [0] * rows, vocabulary)
        self.waits = Waits(rows)
        self.texts: list[Text | None] = [None] * rows
        self.readings: list[Reading | None] = [None] * rows
        self.names: list[Name] = [("", "")] * rows

    def __len__(self) -> int:
        """Rows that are not free."""
        return len(self.phase) - len(self._free)

    @property
    def busy(self) -> int:
        """Rows that take a place in the lane's batch, and those that are promised to copies of prompts being read."""
        return int(np.count_nonzero(self.phase > IDLE)) + sum(reading.ahead for _, reading in self.reading())

    def reading(self) -> Iterator[tuple[int, Reading]]:
        return ((row, reading) for row, reading in enumerate(tuple(self.readings)) if reading is not None)

    def writing(self) -> Iterator[tuple[int, Text]]:
        return ((row, text) for row, text in enumerate(tuple(self.texts)) if text is not None)

    def text(self, row: int) -> Text:
        """Of a row that writes."""
        text = self.texts[row]
        assert text is not None, "a row that writes has a text"
        return text

    def open(self, reading: Reading) -> int:
        """A row for a prompt that is to be read."""
        row = self._take(reading.command.deadline)
        reading.row, self.readings[row] = row, reading
        self.position[row], self.seen[row] = 0, False
        return row

    def fork(self, trunk: int, text: Text) -> int:
        """A row for a text that goes on from where another row stands."""
        row = self._take(text.command.deadline)
        self.position[row], self.seen[row] = self.position[trunk], self.seen[trunk]
        self._enter(row, text)
        return row

    def write(self, row: int, text: Text) -> None:
        """The row has read a prompt, and writes from now on."""
        self.readings[row] = None
        self._enter(row, text)
        self.phase[row] = WRITING

    def advance(self, rows: Rows, tokens: Rows) -> Rows:
        """Tokens [rows] are sent, one of each row; returns the positions at which these steps begin."""
        begin: Rows = self.position[rows]
        self.seen[rows, tokens] = True
        self.sent[rows] = begin
        self.position[rows] = begin + 1
        return begin

    def written(self, rows: Rows, count: int, now: float) -> None:
        """So many tokens of each of these rows were chosen and sent, of which nothing was noted."""
        self.position[rows] += count
        self.left[rows] -= count
        self.waits.chosen(rows, now, count)

    def read(self, row: int, tokens: Rows) -> int:
        """Tokens [time] are sent as one step of the row; returns the position at which it begins."""
        begin = int(self.position[row])
        self.seen[row, tokens] = True
        self.sent[row], self.position[row] = begin, begin + len(tokens)
        return begin

    def drop(self, row: int) -> None:
        """Its text has ended, or its prompt is not wanted any more; the row is free when the sequence has closed."""
        self.phase[row], self.deadline[row] = CLOSING, np.inf
        self.texts[row] = self.readings[row] = None

    def give(self, row: int) -> None:
        """Its sequence is gone."""
        self.drop(row)
        self.phase[row], self.sent[row] = FREE, NONE
        self._free.append(row)

    def _take(self, deadline: float) -> int:
        row = self._free.pop()
        self.phase[row], self.deadline[row] = OPENING, deadline
        self.names[row], self._serial = ("\0writing", str(self._serial)), self._serial + 1
        return row

    def _enter(self, row: int, text: Text) -> None:
        self.texts[row], self.left[row] = text, text.command.most
        self.waits.begin(row, text.command.arrived)
        self.settings.put(np.array([row]), Settings.of([text.command.sampling], [text.seed], self._vocabulary))
