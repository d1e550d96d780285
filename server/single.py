"""One row that goes straight on, admitted and committed cell by cell: an array operation costs about as much for it as
for a frame.

What is asked is what straight.py asks of many; what is done is what commit.py does to many.
"""

from __future__ import annotations

import numpy as np

from headrace.spec import ModelSpec

from .commands import NamedSteps
from .sequences import FRESH
from .state import State
from .steps import NEVER_AGAIN, NEXT, Answers, Outputs, Rows, Stepped, Steps
from .straight import allowed, plain


def keyed(spec: ModelSpec, state: State, steps: Steps, now: float) -> bool:
    """Admits the one row if it is usual and nothing is pending of its sequence; else does nothing."""
    if not plain(spec):
        return False
    number = state.handles[steps.sink][steps.keys.item()]
    return number >= 0 and _admitted(spec, state, steps, number, now)


def named(spec: ModelSpec, state: State, command: NamedSteps, now: float) -> bool:
    """The same for a row that names its sequence; neither a first one nor a last one is usual."""
    if not plain(spec) or command.starts.item() or command.ends.item():
        return False
    number = state.sequences.names.get(command.names[0])
    return number is not None and _admitted(spec, state, command.steps, number, now)


def _admitted(spec: ModelSpec, state: State, steps: Steps, number: int, now: float) -> bool:
    """A sequence that is closing has something pending."""
    sequences, position = state.sequences, steps.positions.item()
    expected = sequences.expected.item(number)
    usual = (
        position in (expected, NEXT)
        and steps.lengths.item() == 1
        and not sequences.pending.item(number)
        and allowed(spec, (steps,))
        and state.kept.passes_on(number, steps.acked.item())
    )
    if usual:
        sequences.used[number], sequences.pending[number], sequences.expected[number] = now, 1, expected + 1
        state.scheduler.add(_found(steps, number, expected))
    return usual


def _found(steps: Steps, number: int, position: int) -> Steps:
    found = steps.numbered(np.array([number]))
    return found if found.positions.item() == position else found.placed(np.array([position]))


def applied(state: State, step: Steps, write: Rows, outputs: Outputs, now: float) -> Answers:
    """The one row, of a model with states, is answered and its reply kept; the next row of its sequence may run."""
    sequences, number = state.sequences, step.numbers.item()
    end, old = step.positions.item() + step.lengths.item(), sequences.slot.item(number)
    sequences.slot[number] = write.item()
    if old != FRESH:
        state.slots.give_one(old)
    sequences.position[number], sequences.used[number] = end, now
    if step.acked.item() != NEVER_AGAIN:
        state.kept.keep_one(number, end, outputs)
    sequences.pending[number] = sequences.pending.item(number) - 1
    state.scheduler.settle(step.numbers)
    answer = step.sink, Stepped(step.keys, step.positions, step.lengths, outputs.cells)
    return [answer, *state.close_due(step.numbers)] if sequences.closing.item(number) else [answer]
