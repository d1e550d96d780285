"""States are guessed by name and shape, never by position alone, and doubt is said."""

from __future__ import annotations

import pytest

from headrace.adopt.pairs import core, guess
from headrace.contract import ELEMENTS, Declared

F, INT = ELEMENTS["float32"], ELEMENTS["int64"]


def vector(*axes: int | str, element: int = F) -> Declared:
    return Declared(element, axes)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("state", "stateN"),
        ("h0", "hn"),
        ("h_0", "h_n"),
        ("c0", "cn"),
        ("h_in_1", "h_out_1"),
        ("hidden", "new_hidden"),
        ("prevCell", "nextCell"),
        ("past.0.key", "present.0.key"),
    ],
)
def test_names_that_say_before_and_after_have_one_core(before: str, after: str) -> None:
    assert core(before) == core(after) != ""


def test_layers_and_kinds_of_states_are_told_apart() -> None:
    assert len({core(name) for name in ("h_in_0", "h_in_1", "c_in_0", "c_in_1")}) == 4


def test_states_are_paired_whatever_their_order() -> None:
    shapes = {"x": vector("b", "t", 4), "h0": vector(1, "b", 8), "c0": vector(1, "b", 8)}
    results = {"cn": vector(1, "b", 8), "y": vector("b", "t", 4), "hn": vector("?", "?", "?")}
    assert guess(shapes, results).found == {"h0": "hn", "c0": "cn"}


@pytest.mark.parametrize(
    "after",
    [
        Declared(F, (1, "b", 9)),  # of another size
        Declared(INT, (1, "b", 8)),  # of another dtype
        Declared(F, ("b", 8)),  # of another rank
    ],
)
def test_a_name_alone_pairs_nothing(after: Declared) -> None:
    assert not guess({"h0": vector(1, "b", 8)}, {"hn": after}).found


def test_a_place_and_a_shape_alone_pair_nothing() -> None:
    assert not guess({"query": vector("b", 8)}, {"logits": vector("b", 8)}).found


def test_with_two_open_axes_it_is_no_state() -> None:
    assert not guess({"x": vector("b", "t", 4)}, {"x_out": vector("b", "t", 4)}).found


def test_what_could_be_several_is_said_and_not_paired() -> None:
    pairs = guess({"h": vector("b", 8)}, {"h_new": vector("b", 8), "h_next": vector("b", 8)})
    assert not pairs.found
    assert pairs.doubtful == ("h may be the state before any of h_new, h_next: names and shapes do not say",)
    pairs = guess({"h_in": vector("b", 8), "h_old": vector("b", 8)}, {"h": vector("b", 8)})
    assert not pairs.found
    assert pairs.doubtful == ("h may be the state after any of h_in, h_old: names and shapes do not say",)
