"""Whose a key is, told from what was asked and what the lanes said."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import AlreadyExists, HeadraceError, InvalidInput, TakenOver, UnknownSequence
from headrace.server.handles import MOST_KEYS
from headrace.server.rpc.keys import Keys, Route
from headrace.server.steps import Answer, Closed, Failed, Opened

from ..fakes import STATELESS_SUM, SUM
from .oip import ScriptedLane, served

LANES = [ScriptedLane(), ScriptedLane()]
MODEL = served(SUM, *LANES)
A, B = (Route(MODEL, lane) for lane in LANES)

OPENED = Opened(1, "1", 0, resumed=False)
EXPIRED = Failed(1, None, UnknownSequence("x"))
TAKEN = Failed(1, None, TakenOver("x"))
REFUSED = Failed(1, None, AlreadyExists("x"))


def after(opens: int, *answers: Answer) -> Keys:
    """Key 1 was opened so often on way A, and this is what came."""
    keys = Keys()
    for _ in range(opens):
        keys.claim(1, A)
        keys.asked(1)
    for answer in answers:
        keys.heard(answer)
    return keys


@pytest.mark.parametrize(
    "keys",
    [
        after(1),
        after(1, OPENED),
        after(2, OPENED),
        after(2, REFUSED),
        after(2, OPENED, REFUSED),  # the sequence that it has stays
        after(2, OPENED, TAKEN, OPENED),  # lost, and had back at once
        after(2, EXPIRED, OPENED),
        after(1, OPENED, Failed(1, 0, UnknownSequence("x"))),  # a step's failure
        after(1, OPENED, Failed(2, None, EXPIRED.error)),  # another key's
    ],
)
def test_a_key_in_use_is_refused_elsewhere_and_keeps_its_way(keys: Keys) -> None:
    with pytest.raises(AlreadyExists, match="key 1"):
        keys.claim(1, B)
    assert keys.route(keys.lookup(one())[0]) == A
    keys.claim(1, A)  # there the lane decides


@pytest.mark.parametrize(
    "keys",
    [
        Keys(),
        after(1, REFUSED),
        after(1, OPENED, Closed((2, 1))),
        after(1, OPENED, EXPIRED),
        after(1, OPENED, TAKEN),
        after(2, OPENED, TAKEN, EXPIRED),  # lost, and the second open refused
        after(2, OPENED, TAKEN, REFUSED),
    ],
)
def test_a_key_whose_sequence_is_dead_may_be_used_again(keys: Keys) -> None:
    keys.claim(1, B)
    assert keys.route(keys.lookup(one())[0]) == B


def one() -> np.ndarray:
    return np.array([1], np.uint32)


def test_an_open_that_was_never_posted_blocks_nothing() -> None:
    keys = Keys()
    keys.claim(1, A)
    keys.claim(1, B)


def test_a_key_without_state_that_is_closed_has_no_way_and_may_be_used_again() -> None:
    model = served(STATELESS_SUM, ScriptedLane())
    keys, route = Keys(), Route(model, None)
    for _ in range(2):
        keys.claim(1, route)
        keys.asked(1)
    keys.heard(OPENED)
    keys.close([1])
    assert "closed" in str(keys.why(1))
    keys.claim(1, A)
    assert keys.route(keys.lookup(one())[0]) == A


def test_a_key_that_is_too_large_is_refused() -> None:
    keys = Keys()
    with pytest.raises(InvalidInput, match="too large"):
        keys.claim(MOST_KEYS, A)
    error: HeadraceError = keys.why(MOST_KEYS)
    assert "not opened" in str(error)


def test_rows_without_state_go_to_each_lane_in_turn() -> None:
    lanes = [ScriptedLane() for _ in range(3)]
    model = served(STATELESS_SUM, *lanes)
    keys, route = Keys(), Route(model, None)
    keys.claim(1, route)
    assert {route.pick() for _ in range(3)} == set(lanes)
    assert keys.lanes() == dict.fromkeys(lanes, model)
    assert {Route(MODEL, LANES[1]).pick() for _ in range(3)} == {LANES[1]}
