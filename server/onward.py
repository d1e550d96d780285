"""Several tokens of each text in one turn of a lane, where nobody waits for anything else: multi-step scheduling.

What a lane does between two calls of the runtime is the same for one token and for several, and for a small model it
costs as much as a quarter of the call. So where a tick holds nothing but texts, each of which goes on by one token, the
next tokens are chosen and the model is called with them at once, again and again. Whatever is posted ends that within
one call, so that whoever comes joins as soon as otherwise; so does a token that is more than a token, such as one that
ends its text: it is left to the usual way.

Those who read get their tokens by portions. They are told before what they are part of is committed, for nobody can ask
for them again: if that fails, so do the texts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .batch import Outcome
from .state import State
from .steps import Answers, Array, Outputs, Rows, Steps
from .writing.ahead import Ahead
from .writing.writers import Writers

log = logging.getLogger(__name__)

PORTION = 0.05
"""Seconds: whoever reads sees twenty portions of tokens a second."""

ROOM = 64
"""Tokens of each text that memory is asked for at a time."""


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
        """The next token of each → each output [rows, ...], a copy; None if not all is sound. Raises whatever the
        runtime raises. After both it is as if not called, and there is nothing more to be had."""

    def end(self) -> None:
        """No more calls come."""


@dataclass(frozen=True, slots=True)
class Onward:
    """quiet: whether nothing was posted; end: no call begins later, in seconds of the clock; tell: takes portions."""

    state: State
    writers: Writers
    clock: Callable[[], float]
    quiet: Callable[[], bool]
    end: float
    tell: Callable[[Answers], None]

    def go(self, steps: Steps, outcome: Outcome, walk: Walk) -> tuple[Steps, Outcome]:
        """Texts' rows, which have run soundly → the same as one step of several tokens each, and what came of it: of
        the outputs only those of the last token."""
        ahead = self.writers.ahead(steps.keys)
        if ahead is None:
            return steps, outcome
        cells = self._walk(steps, ahead, walk, outcome.outputs.cells)
        walk.end()
        if not ahead.count:
            return steps, outcome
        grown, come = _grown(steps, ahead.tokens), _come(outcome, cells, 1 + ahead.count, walk.compute_cpu)
        self.state.sequences.expected[steps.numbers] += ahead.count  # last, for a step that fails takes all of it back
        return grown, come

    def _walk(self, steps: Steps, ahead: Ahead, walk: Walk, cells: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs of the last tokens, [rows, ...] each."""
        most, due = min(walk.room, ahead.most), self.clock() + PORTION
        with np.errstate(invalid="ignore"):  # what is not finite is found by its sum
            while ahead.count < most and self.quiet() and (now := self.clock()) < self.end:
                if now >= due:
                    self.tell(self.writers.portion(now))
                    due = now + PORTION
                if ahead.count % ROOM == 0 and not self._room(steps, ahead.count + min(ROOM, most - ahead.count)):
                    break
                tokens = ahead.next(cells)
                further = None if tokens is None else _on(walk, tokens)
                if tokens is None or further is None:
                    break
                ahead.take(tokens)
                cells = further
        return cells

    def _room(self, steps: Steps, further: int) -> bool:
        """Whether there is memory for so many tokens of each text behind this step. What is not used of it is given
        back by its next step, which tells how long it is, or with its sequence."""
        return self.state.budget.grow_all(steps.numbers, steps.positions + 1 + further)


def _on(walk: Walk, tokens: Rows) -> tuple[Array, ...] | None:
    try:
        return walk.on(tokens)
    except Exception:  # the runtime's exceptions share no base but this; the next tick will find the guilty row
        log.warning("the runtime refused %d rows that go on", len(tokens), exc_info=True)
        return None


def _grown(steps: Steps, further: Sequence[Rows]) -> Steps:
    """further: tokens [rows] of each call behind the first."""
    (first,) = steps.values
    tokens = np.stack([first, *further], axis=1)  # [rows, calls]
    lengths = np.full(len(steps), tokens.shape[1])
    return replace(steps, lengths=lengths, values=(tokens.reshape(-1).astype(first.dtype, copy=False),))


def _come(first: Outcome, cells: tuple[Array, ...], calls: int, compute_cpu: float) -> Outcome:
    """cells [rows, ...]: of the last time step of each row."""
    outputs = Outputs(cells, (False,) * len(cells), np.ones_like(first.outputs.lengths))
    return Outcome(outputs, first.sound, first.compute_cpu + compute_cpu, calls)
