"""One of several callers behind a sink leaves: its rows go, those of the others stay."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import Cancelled, WrongPosition
from headrace.server.commands import Leave, NamedSteps, Step
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, Failed, Stepped

from .fakes import STATELESS_SUM, Clock, Heard, steps, sum_lane

#: Of four rows, the two of the caller who leaves.
GONE = frozenset({1, 2})


def outcome(heard: Heard) -> dict[int | None, type[object]]:
    """Key → what its row was answered by: its error, or Stepped."""
    found: dict[int | None, type[object]] = {}
    for answer in heard.take():
        if isinstance(answer, Failed):
            found[answer.key] = type(answer.error)
        elif isinstance(answer, Stepped):
            found.update(dict.fromkeys(answer.keys.tolist(), Stepped))
    return found


@pytest.mark.parametrize("rows", [2, 8])
def test_rows_without_state_leave_alone(rows: int) -> None:
    heard = Heard()
    lane = sum_lane(Clock(), spec=STATELESS_SUM, limits=Limits(rows=rows, tokens=64, sequences=8, idle=60.0))
    lane.post(Step(steps(heard, [(key, 0, [1]) for key in range(4)])))
    lane.post(Leave(heard, GONE))
    lane.admit(wait=False)
    assert outcome(heard) == {1: Cancelled, 2: Cancelled}
    for _ in range(4):
        lane.tick()
    assert outcome(heard) == {0: Stepped, 3: Stepped}


def named(heard: Heard, names: str, positions: list[int]) -> NamedSteps:
    rows = steps(heard, [(key, position, [1]) for key, position in enumerate(positions)], acked=[NEVER_AGAIN] * 4)
    starts = np.array([position == 0 for position in positions])
    return NamedSteps(rows, tuple(("", name) for name in names), starts, np.zeros(4, np.bool_))


def test_rows_of_sequences_leave_alone() -> None:
    heard, lane = Heard(), sum_lane(Clock())
    lane.post(named(heard, "abcd", [0, 0, 0, 0]))
    lane.post(Leave(heard, GONE))
    lane.admit(wait=False)
    lane.tick()
    assert outcome(heard) == {0: Stepped, 1: Cancelled, 2: Cancelled, 3: Stepped}


def test_rows_behind_others_leave_with_what_is_behind_them() -> None:
    heard, lane = Heard(), sum_lane(Clock())
    lane.post(named(heard, "abaa", [0, 0, 1, 2]))
    lane.post(Leave(heard, GONE))
    lane.admit(wait=False)
    lane.tick()
    assert outcome(heard) == {0: Stepped, 1: Cancelled, 2: Cancelled, 3: WrongPosition}
