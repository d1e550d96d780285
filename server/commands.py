"""What callers ask of a lane. Commands of one caller are handled in the order in which they were posted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sequences import Name
from .steps import Rows, Sink, Steps, holds


class Mode(Enum):
    FRESH = auto()
    RESUME = auto()
    REPLACE = auto()
    REJOIN = auto()


@dataclass(frozen=True, slots=True)
class Open:
    """Answered by Opened, or by Failed without position."""

    sink: Sink
    key: int
    name: Name
    mode: Mode
    incarnation: int


@dataclass(frozen=True, slots=True)
class Step:
    """Rows whose keys the sink has opened (or of a stateless model). Each is answered by Stepped or Failed."""

    steps: Steps

    def take(self, rows: NDArray[np.bool_]) -> Step:
        """The chosen rows, by a mask [rows]."""
        return Step(self.steps.take(rows))


@dataclass(frozen=True, slots=True)
class NamedSteps:
    """Rows that name their sequences themselves, as Open Inference rows do; all that a face gathered for one lane.

    One name a row. Rows of one name are handled in order. starts [rows]: begins the sequence anew; ends [rows]: closes
    it behind the step. Each row has a key of its own, by which the sink tells whose answer it is.
    """

    steps: Steps
    names: tuple[Name, ...]
    starts: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    def take(self, rows: NDArray[Any]) -> NamedSteps:
        """The chosen rows: a mask [rows] or indices."""
        if rows.dtype == np.bool_:
            if holds(rows):
                return self
            rows = np.flatnonzero(rows)
        names = tuple(self.names[row] for row in rows.tolist())
        return NamedSteps(self.steps.take(rows), names, self.starts[rows], self.ends[rows])

    def in_turns(self) -> Iterator[NamedSteps]:
        """All rows, in parts that hold each name once: its first rows, its second ones, and so on."""
        if len(set(self.names)) == len(self.names):
            yield self
            return
        turns: list[list[int]] = []
        seen: Counter[Name] = Counter()
        for row, name in enumerate(self.names):
            if seen[name] == len(turns):
                turns.append([])
            turns[seen[name]].append(row)
            seen[name] += 1
        yield from (self.take(np.array(rows)) for rows in turns)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Steps that are still queued are answered by Failed (Cancelled); others are answered as if nothing was said."""

    sink: Sink
    keys: NDArray[np.uint32]
    positions: Rows


@dataclass(frozen=True, slots=True)
class Close:
    """Answered by Closed, after all steps of these sequences are settled."""

    sink: Sink
    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """The caller is gone: its queued rows are dropped, its sequences live on without owner until resumed or expired.

    With `keys` it is one of several behind a sink, who has no sequences: only rows with these keys are dropped.
    """

    sink: Sink
    keys: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Barrier:
    """`done` is called on the lane's thread once everything posted before is handled: queued, or answered."""

    done: Callable[[], object]


#: What is answered by admission; a barrier is the lane's own affair.
Request = Open | Step | NamedSteps | Cancel | Close | Leave
Command = Request | Barrier
