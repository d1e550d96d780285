"""What callers ask of a lane. Commands of one caller are handled in the order in which they were posted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hot import hot
from .sequences import Name
from .steps import Array, Rows, Sink, Steps, holds


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
    source: tuple[Array, ...] = ()
    """Of a model with a start graph: its inputs, [time, ...] each, of this one sequence. Not used of a live one."""


@hot
class Step:
    """Rows whose keys the sink has opened (or of a stateless model). Each is answered by Stepped or Failed."""

    steps: Steps

    def take(self, rows: NDArray[np.bool_]) -> Step:
        """The chosen rows, by a mask [rows]."""
        return Step(self.steps.take(rows))


@hot
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
    """Steps that are queued, or under way, are answered by Failed (Cancelled); others as if nothing was said."""

    sink: Sink
    keys: NDArray[np.uint32]
    positions: Rows


@dataclass(frozen=True, slots=True)
class Fork:
    """The live sequence `name` goes on as others too: one for each key, fresh, with a name of its own, at its position.

    Each is answered by Opened, or by Failed without position. What is under way or queued of `name` is awaited by no
    one: the others begin where it stands now.
    """

    sink: Sink
    name: Name
    keys: tuple[int, ...]
    names: tuple[Name, ...]
    incarnation: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen by its logits, in this order.

    repetition_penalty: logits of tokens that stand in the text or its prompt already are divided by it if positive,
    else multiplied (Keskar et al. 2019, section 4.1); 1: none. temperature: the logits are divided by it; 0: the
    likeliest token is taken. top_k: only so many likeliest tokens; 0: all. top_p: of these the fewest whose
    probabilities sum up to so much (Holtzman et al. 2020, section 3.1); 1: all. seed: of the draws.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """tokens [time] int64, may be empty where the spec has a token to begin with; source as in Open.

    number: its place in its caller's request, of which a lane may have a part alone. The seeds of its texts follow from
    it, so that they do not depend on the lanes.
    """

    tokens: Rows
    source: tuple[Array, ...] = ()
    number: int = 0


@dataclass(frozen=True, slots=True)
class Generate:
    """Texts that the lane writes: `copies` of each prompt. Keys count them: those of the first prompt come first.

    Each is answered by Wrote as it grows, the last time with its ending; or by Failed with its key and no position.
    most: tokens of each text. stop: strings that end a text before they appear in it. deadline: seconds on the lane's
    clock. arrived: seconds on the same clock. The texts of a sink that leaves are dropped at once.
    """

    sink: Sink
    prompts: tuple[Prompt, ...]
    copies: int
    sampling: Sampling
    most: int
    stop: tuple[str, ...]
    deadline: float
    arrived: float


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
    """`done` is called by who has the lane once everything posted before is handled: queued, or answered."""

    done: Callable[[], object]


#: What is answered by admission.
Admitted = Open | Step | NamedSteps | Cancel | Close | Leave
#: What somebody asks for; a barrier is the lane's own affair.
Request = Admitted | Fork | Generate
Command = Request | Barrier
