"""When a step may run on the event loop's own thread."""

from __future__ import annotations

from math import inf

import numpy as np

from headrace.server.alone import BRIEF, FEW, LONG, QUIET, Alone, Brief
from headrace.server.commands import Close, Step
from headrace.server.gate import Gate
from headrace.server.steps import Sink

from .fakes import Heard, named_row, steps


def entered(rows: int = 1) -> tuple[Alone, Gate]:
    """So many rows are inside, of the command that is posted next."""
    alone, gate = Alone(), Gate(100, "here")
    alone.gates += [Gate(100, "elsewhere"), gate]
    gate.enter(rows)
    return alone, gate


def step(sink: Sink, now: float, rows: int = 1, length: int = 1) -> Step:
    return Step(steps(sink, [(key, 0, np.ones(length)) for key in range(rows)], now=now))


def test_a_caller_is_alone_once_nobody_else_has_posted_for_a_while() -> None:
    alone, _ = entered()
    a, b = Heard(), Heard()
    assert not alone.posts(step(a, 1.0))
    assert not alone.posts(step(a, 1.0 + QUIET / 2))
    assert alone.posts(step(a, 1.0 + 1.1 * QUIET))
    assert not alone.posts(step(b, 2.0))  # another one
    assert not alone.posts(step(a, 2.0 + 1.1 * QUIET))
    assert alone.posts(step(a, 2.0 + 2.3 * QUIET))


def test_rows_that_name_their_sequence_are_one_callers_if_they_name_the_same() -> None:
    alone, _ = entered()
    for now, name, expected in ((1.0, "s", False), (2.0, "s", True), (3.0, "t", False), (4.0, "t", True)):
        assert alone.posts(named_row(step(Heard(), now).steps, name)) == expected


def test_whatever_else_is_posted_disturbs() -> None:
    alone, _ = entered()
    client = Heard()
    alone.posts(step(client, 1.0))
    assert not alone.posts(Close(client, (1,)))
    assert not alone.posts(step(client, 2.0))
    assert alone.posts(step(client, 3.0))


def test_nothing_else_may_be_unanswered() -> None:
    alone, gate = entered()
    client, (elsewhere, _) = Heard(), alone.gates
    alone.posts(step(client, 1.0))
    for busy in (gate, elsewhere):
        busy.enter(1)
        assert not alone.posts(step(client, 2.0))
        busy.leave(1)
    assert alone.posts(step(client, 2.0))


def test_a_command_with_many_time_steps_is_not_small() -> None:
    for rows, length, expected in ((FEW, 1, True), (FEW + 1, 1, False), (1, FEW, True), (1, FEW + 1, False)):
        alone, _ = entered(rows)
        client = Heard()
        alone.posts(step(client, 1.0, rows, length))
        assert alone.posts(step(client, 2.0, rows, length)) == expected


def test_a_lane_is_brief_by_what_its_small_ticks_have_taken_lately() -> None:
    brief = Brief()
    assert not brief and brief.seconds == inf  # nobody knows yet
    brief.ran(1, BRIEF / 2)
    brief.ran(FEW + 1, 1.0)  # says nothing of small ones
    assert brief
    brief.ran(1, LONG)  # was held up
    assert brief
    for _ in range(20):
        brief.ran(FEW, 2 * BRIEF)
    assert not brief
    for _ in range(40):
        brief.ran(1, BRIEF / 2)
    assert brief


def test_one_long_tick_closes_a_lane_for_a_while() -> None:
    brief = Brief()
    brief.ran(1, BRIEF / 2)
    brief.ran(1, 2 * LONG)
    ticks = 0
    while not brief:
        brief.ran(1, BRIEF / 2)
        ticks += 1
    assert 15 < ticks < 30


def test_what_may_wait_for_a_disk_is_never_brief() -> None:
    brief = Brief(never=True)
    brief.ran(1, 0.0)
    assert not brief
