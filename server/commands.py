"""What callers ask of a lane. Commands of one caller are handled in the order in which they were posted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from .sequences import Name
from .steps import Rows, Sink, Steps


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


@dataclass(frozen=True, slots=True)
class NamedStep:
    """One row that names its sequence itself, as Open Inference rows do: `start` begins it anew, `end` closes it."""

    steps: Steps
    name: Name
    start: bool
    end: bool


@dataclass(frozen=True, slots=True)
class NamedSteps:
    """Rows that name their sequences themselves, as Open Inference rows do; all that a face gathered for one lane.

    One name a row. Rows of one name are handled in order. starts [rows]: begins the sequence anew; ends [rows]: closes
    it behind the step. Keys are whatever the sink tells its rows apart by.
    """

    steps: Steps
    names: tuple[Name, ...]
    starts: NDArray[np.bool_]
    ends: NDArray[np.bool_]


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
Request = Open | Step | NamedStep | NamedSteps | Cancel | Close | Leave
Command = Request | Barrier
