"""Every interleaving of calls, cancels, refusals and cuts that hypothesis finds."""

from __future__ import annotations

import asyncio
from contextlib import closing

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.client.ledger import Ledger
from headrace.client.step import Step
from headrace.errors import DeadlineExceeded, InvalidInput, Overloaded, WrongPosition
from headrace.protos import sequences_pb2 as pb

from .fake import Cut
from .line import Line, once, outcome
from .rows import Row

ACTIONS = st.sampled_from(
    ["submit", "submit", "submit", "hasty", "write", "write", "read", "cut", "refuse", "cancel", "later"]
)


@settings(max_examples=300, deadline=None)
@given(actions=st.lists(st.tuples(ACTIONS, st.integers(0, 3)), max_size=40))
def test_every_step_is_applied_once_or_known_not_to_be(actions: list[tuple[str, int]]) -> None:
    """Each step adds a power of two of its own, so that a sum tells exactly which steps were applied before it."""
    with closing(asyncio.new_event_loop()) as loop:
        _play(Line(loop, grace=0.1), actions)


def _play(line: Line, actions: list[tuple[str, int]]) -> None:
    ledger = line.open()
    steps: list[Step] = []
    for action, number in actions:
        match action:
            case "submit" if len(steps) < 20:
                steps.append(line.submit(ledger, 1 << len(steps)))
            case "hasty" if len(steps) < 20:
                steps.append(line.submit(ledger, 1 << len(steps), patience=0.15 * number))
            case "write":
                line.server.paused = number == 0
                line.write()
            case "read":
                line.server.release()
                line.read()
            case "cut":
                line.write(list(Cut)[number])
                line.break_off()
            case "refuse":
                line.server.refuse = [_overloaded, once(pb.OVERLOADED), once(pb.INVALID_INPUT), lambda row: None][
                    number
                ]
            case "cancel" if steps:
                step = steps[-1 - number % len(steps)]
                if step.answer.cancel():
                    line.session.give_up(ledger, step)
            case "later":
                line.now += 0.1
    line.server.refuse = lambda row: None
    for _ in range(20):
        line.now += 0.1
        line.server.release()
        line.read()
        line.exchange()
    _check(line, ledger, steps)


def _check(line: Line, ledger: Ledger, steps: list[Step]) -> None:
    live = line.server.live["a"]
    applied = int(live.total[0])
    outcomes = [outcome(step) for step in steps]
    assert None not in outcomes
    assert live.applied == applied.bit_count() == live.position == ledger.position
    for number, result in enumerate(outcomes):
        below = applied & ((2 << number) - 1)
        if isinstance(result, float):
            assert result == below and applied >> number & 1  # applied, in order, once, and nothing else before it
        elif result not in (asyncio.CancelledError, DeadlineExceeded):  # of these nobody knows
            assert result in (InvalidInput, WrongPosition, Overloaded) and not applied >> number & 1
    follow = line.submit(ledger, 0)
    line.exchange()
    assert outcome(follow) == applied  # whatever happened, the sequence is usable


def _overloaded(row: Row) -> pb.Error:
    return pb.Error(code=pb.OVERLOADED, message="full", retry_after_ms=100)
