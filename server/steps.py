"""What crosses all layers of the server: steps in columns, and the answers to them.

A row is one step of one sequence. Rows of one frame stay together as columns on their whole way: what is done to them
all costs a few array operations, not a Python object for each. Objects for single rows are made where rows part: for a
row that fails, one that is withdrawn from the queue, one that takes several ticks (underway.py), and for a kept reply
that finds no cell (kept.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError
from headrace.ragged import token_index

from .hot import hot

Array = NDArray[Any]
Rows = NDArray[np.int64]

#: Position of a step that goes wherever its sequence stands (Open Inference rows carry none).
NEXT = np.iinfo(np.int64).min

#: `acked` of a step that will never be sent again: its reply is not kept.
NEVER_AGAIN = np.iinfo(np.int64).max

#: Sequence number of the rows of a stateless model.
STATELESS = -1


class Sink(Protocol):
    """Where the answers to a caller go. Called on the event loop, once for each answer."""

    def deliver(self, answer: Answer) -> None: ...


@hot
class Steps:
    """Some rows of one caller, all of one model version. Columns are [rows]; values are packed [tokens, ...]."""

    sink: Sink
    keys: NDArray[np.uint32]  # the caller's names for the rows' sequences
    numbers: Array  # the lane's, or STATELESS; int64 where the lane gave them, for numpy is quickest with such indices
    positions: Rows  # time steps applied before the step
    lengths: Rows
    acked: Rows  # replies up to here have arrived
    deadlines: NDArray[np.float64]  # seconds on the lane's clock, inf for none
    arrived: float  # seconds on the same clock
    values: tuple[Array, ...]  # one for each input of the spec
    last_only: bool = False  # outputs are asked for of each row's last time step alone; such a row is never sent again

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        return f"Steps(rows={len(self)}, tokens={int(self.lengths.sum())})"

    @property
    def tokens(self) -> int:
        """Time steps of all rows together."""
        return len(self.values[0])

    @property
    def asked(self) -> Rows:
        """[rows] of so many time steps, each row's last ones, outputs are asked for."""
        return np.ones_like(self.lengths) if self.last_only else self.lengths

    def take(self, rows: NDArray[Any]) -> Steps:
        """The chosen rows: a mask [rows] or indices. A mask of all rows costs next to nothing."""
        if rows.dtype == np.bool_:
            if holds(rows):
                return self
            rows = np.flatnonzero(rows)
        tokens = rows if single(self.lengths) else token_index(self.lengths, rows)
        return self._part(rows, tokens)

    def numbered(self, numbers: Array) -> Steps:
        return Steps(
            self.sink,
            self.keys,
            numbers,
            self.positions,
            self.lengths,
            self.acked,
            self.deadlines,
            self.arrived,
            self.values,
            self.last_only,
        )

    def placed(self, positions: Rows) -> Steps:
        return Steps(
            self.sink,
            self.keys,
            self.numbers,
            positions,
            self.lengths,
            self.acked,
            self.deadlines,
            self.arrived,
            self.values,
            self.last_only,
        )

    def split(self, rows: int) -> tuple[Steps, Steps]:
        """The first `rows` rows and the others, both views."""
        tokens = int(self.lengths[:rows].sum())
        return self._part(slice(None, rows), slice(None, tokens)), self._part(slice(rows, None), slice(tokens, None))

    def _part(self, rows: NDArray[Any] | slice, tokens: NDArray[Any] | slice) -> Steps:
        return Steps(
            self.sink,
            self.keys[rows],
            self.numbers[rows],
            self.positions[rows],
            self.lengths[rows],
            self.acked[rows],
            self.deadlines[rows],
            self.arrived,
            tuple(values[tokens] for values in self.values),
            self.last_only,
        )


@hot
class Outputs:
    """What a model gave for some rows: `cells` [tokens, ...] where `timed`, else [rows, ...]; lengths [rows]: so many
    time steps there are of each row, fewer than it has if not all are asked for, or none."""

    cells: tuple[Array, ...]
    timed: tuple[bool, ...]
    lengths: Rows

    def part(self, rows: slice) -> Outputs:
        """Consecutive rows, as views."""
        before = int(self.lengths[: rows.start].sum())
        lengths = self.lengths[rows]
        tokens = slice(before, before + int(lengths.sum()))
        cells = tuple(y[tokens] if t else y[rows] for y, t in zip(self.cells, self.timed, strict=True))
        return Outputs(cells, self.timed, lengths)

    def take(self, rows: NDArray[np.bool_]) -> Outputs:
        """The rows of a mask [rows]."""
        if holds(rows):
            return self
        tokens = token_index(self.lengths, np.flatnonzero(rows))
        cells = tuple(y[tokens] if t else y[rows] for y, t in zip(self.cells, self.timed, strict=True))
        return Outputs(cells, self.timed, self.lengths[rows])


@dataclass(frozen=True, slots=True)
class Opened:
    key: int
    version: str
    position: int
    resumed: bool


@hot
class Stepped:
    """Answered rows: columns as in the request; outputs [tokens, ...], of the time steps that were asked for, or
    [rows, ...] for those without time axis."""

    keys: NDArray[np.uint32]
    positions: Rows
    lengths: Rows
    outputs: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """An open that failed, or a sequence that its owner lost (no position), or a step."""

    key: int | None
    position: int | None
    error: HeadraceError


@dataclass(frozen=True, slots=True)
class Closed:
    keys: tuple[int, ...]


class Ending(Enum):
    """Why a text ended: the model's token for it came, or a stop string; it has as many tokens as were asked for; its
    sequence is as long as the model takes; its time ran out."""

    END = auto()
    STOP = auto()
    MOST = auto()
    FULL = auto()
    LATE = auto()


@dataclass(frozen=True, slots=True)
class Wrote:
    """What was added to some texts of one caller, [texts]: `lengths` tokens each, packed in `tokens`, and their text.

    What may turn out to be a stop string is held back until that is decided. endings: of those that ended with this.
    """

    keys: NDArray[np.uint32]
    lengths: Rows
    tokens: Rows
    texts: tuple[str, ...]
    endings: tuple[Ending | None, ...]


Answer = Opened | Stepped | Failed | Closed | Wrote
Answers = list[tuple[Sink, Answer]]


def steps_answered(answer: Answer) -> int:
    """How many steps this answer settles: each admitted step is settled exactly once."""
    match answer:
        case Stepped():
            return len(answer.keys)
        case Failed(position=int()):
            return 1
        case _:
            return 0


def failures(steps: Steps, error: HeadraceError) -> Answers:
    """Every row of `steps` answered by the same error."""
    rows = zip(steps.keys.tolist(), steps.positions.tolist(), strict=True)
    return [(steps.sink, Failed(key, position, error)) for key, position in rows]


def holds(mask: NDArray[np.bool_]) -> bool:
    """Whether it holds everywhere. Bytes are searched, for on the columns of a frame `all` costs thirty times as much,
    and `np.count_nonzero`, which goes through Python, seven times."""
    return 0 not in mask.tobytes()


def occurs(mask: NDArray[np.bool_]) -> bool:
    """Whether it holds anywhere."""
    return 1 in mask.tobytes()


def least(column: Array) -> Any:
    """The smallest of at least one cell; `min`, which goes through Python, takes five times as long for a frame's."""
    return column.item(column.argmin())


def most(column: Array) -> Any:
    """The largest of at least one cell."""
    return column.item(column.argmax())


def same(column: Array, other: Array) -> bool:
    """Whether two columns are equal, cell by cell."""
    return holds(column == other)


def single(lengths: Rows) -> bool:
    """Whether every step has one time step: then rows are tokens."""
    return holds(lengths == 1)


def columns(pieces: Sequence[Steps], *names: str) -> Sequence[Array]:
    """Columns of all pieces, int64 each, joined at one go: [names] of [rows]; a single piece's are not copied."""
    if len(pieces) == 1:
        return [getattr(pieces[0], name) for name in names]
    joined: Array = np.concatenate([getattr(piece, name) for name in names for piece in pieces])
    return list(joined.reshape(len(names), -1))


def pack(pieces: Sequence[Steps], column: str) -> Array:
    """One column of all pieces, joined; a single piece's is not copied."""
    found: list[Array] = [getattr(piece, column) for piece in pieces]
    return found[0] if len(found) == 1 else np.concatenate(found)


def pack_values(pieces: Sequence[Steps]) -> tuple[Array, ...]:
    """The inputs of all pieces, joined; a single piece's are not copied."""
    if len(pieces) == 1:
        return pieces[0].values
    return tuple(map(np.concatenate, zip(*[piece.values for piece in pieces], strict=True)))
