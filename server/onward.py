"""Several tokens of each text in one turn of a lane, where nobody waits for anything else: multi-step scheduling.

What a lane does between two calls of the runtime is the same for one token and for several, and for a small model it
costs as much as a quarter of the call. So where a tick holds nothing but texts, each of which goes on by one token, the
next tokens are chosen and the model is called with them at once, again and again. Whatever is posted ends that within
one call, so that whoever comes joins as soon as otherwise; so does a token that is more than a token, such as one that
ends its text: it is left to the usual way.

Those who read get their tokens by portions, then, of a few milliseconds each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .batch import Outcome
from .state import State
from .steps import Array, Outputs, Rows, Steps
from .writing.ahead import Ahead
from .writing.writers import Writers

MOST = 64
"""Calls of the runtime in one turn; with so many, what a turn costs is next to nothing for each."""

SECONDS = 0.05
"""No call begins later than this after the turn began: whoever reads sees twenty portions a second."""


class Walk(Protocol):
    """Rows that have run, one token each, and can be run further at once. Nothing is committed."""

    @property
    def room(self) -> int:
        """So many times."""

    @property
    def slots(self) -> Rows:
        """[rows] where the states of the last sound call lie, of those that are carried."""

    @property
    def compute_cpu(self) -> float:
        """CPU seconds inside the runtime so far."""

    def on(self, tokens: Rows) -> tuple[Array, ...] | None:
        """The next token of each → each output [rows, ...], good until the next call; None if not all is sound: then
        it is as if not called, and there is nothing more to be had."""

    def end(self) -> None:
        """No more calls come."""


@dataclass(frozen=True, slots=True)
class Onward:
    """quiet: whether nothing was posted, and time is left."""

    state: State
    writers: Writers
    quiet: Callable[[], bool]

    def go(self, steps: Steps, outcome: Outcome, walk: Walk) -> tuple[Steps, Outcome]:
        """Texts' rows, which have run soundly → the same as one step of several tokens each, and what came of it: of
        the outputs only those of the last token."""
        ahead = self.writers.ahead(steps.keys)
        ends = steps.positions + 1
        most = 0 if ahead is None else min(MOST - 1, walk.room, ahead.most)
        if ahead is None or most <= 0 or not self.state.budget.grow_all(steps.numbers, ends + most):
            return steps, outcome
        cells = self._walk(ahead, walk, outcome.outputs.cells, most)
        walk.end()
        self.state.budget.shrink(steps.numbers, ends + ahead.count)
        if not ahead.count:
            return steps, outcome
        grown = _grown(steps, ahead.tokens)
        self.state.sequences.expected[steps.numbers] += ahead.count  # last, for a step that fails takes all of it back
        return grown, _come(outcome, cells, grown.lengths, walk.compute_cpu)

    def _walk(self, ahead: Ahead, walk: Walk, cells: tuple[Array, ...], most: int) -> tuple[Array, ...]:
        """The outputs of the last tokens, [rows, ...] each."""
        with np.errstate(invalid="ignore"):  # what is not finite is found by its sum
            while ahead.count < most and self.quiet():
                tokens = ahead.next(cells)
                further = None if tokens is None else walk.on(tokens)
                if tokens is None or further is None:
                    break
                ahead.take(tokens)
                cells = further
        return cells


def _grown(steps: Steps, further: Sequence[Rows]) -> Steps:
    """further: tokens [rows] of each call behind the first."""
    (first,) = steps.values
    tokens = np.stack([first, *further], axis=1)  # [rows, calls]
    lengths = np.full(len(steps), tokens.shape[1])
    return replace(steps, lengths=lengths, values=(tokens.reshape(-1).astype(first.dtype, copy=False),))


def _come(first: Outcome, cells: tuple[Array, ...], lengths: Rows, compute_cpu: float) -> Outcome:
    outputs = Outputs(tuple([y.copy() for y in cells]), (False,) * len(cells), lengths)
    return Outcome(outputs, first.sound, first.compute_cpu + compute_cpu, calls=int(lengths[0]))
