"""What no name gives away is said to be doubtful, and what has time or is the only input is not doubted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest

from headrace.adopt.facts import Facts
from headrace.adopt.guess import roles
from headrace.contract import ELEMENTS, Declared

Axes = tuple[int | str, ...]


def facts(inputs: dict[str, Axes], outputs: dict[str, Axes]) -> Facts:
    both = ({name: Declared(ELEMENTS["float32"], axes) for name, axes in each.items()} for each in (inputs, outputs))
    return Facts(Path("model.onnx"), onnx.ModelProto(), *both, {"": 17}, Counter(), ours=False)


def sentence(name: str, results: str) -> str:
    return (
        f"{name} is drafted as an input, but has the dtype and shape of {results}: if it is the state before one of "
        "them, write [[states]] for the two"
    )


def test_each_input_that_could_be_a_state_is_doubted() -> None:
    found = roles(facts({"x": ("b", 3), "buf": ("b", 3)}, {"y": ("b", 3), "n2": ("b", 3)}))
    assert found.inputs == ("x", "buf")
    assert found.doubtful == (sentence("x", "y, n2"), sentence("buf", "y, n2"))


def test_one_whose_size_differs_from_all_results_is_not() -> None:
    found = roles(facts({"x": ("b", 3), "buf": ("b", 8)}, {"y": ("b", 3, 3), "n2": ("b", 8)}))
    assert found.doubtful == (sentence("buf", "n2"),)


def test_a_result_that_is_a_state_already_raises_no_doubt() -> None:
    found = roles(facts({"x": ("b", 8), "z": ("b", 8), "h0": ("b", 8)}, {"y": ("b", 4), "hn": ("b", 8)}))
    assert found.pairs.found == {"h0": "hn"}
    assert not found.doubtful


def test_what_is_doubted_by_its_name_is_said_once() -> None:
    found = roles(facts({"x": ("b", "t", 3), "h": ("b", 8)}, {"h_new": ("b", 8), "h_next": ("b", 8)}))
    assert found.doubtful == ("h may be the state before any of h_new, h_next: names and shapes do not say",)


@pytest.mark.parametrize(
    "inputs", [{"x": ("b", 3)}, {"x": ("b", "t", 3), "z": ("b", 7)}, {"x": (1, "frames", 3), "z": ("b", 7)}]
)
def test_an_only_input_and_one_with_time_are_no_states(inputs: dict[str, Axes]) -> None:
    assert not roles(facts(inputs, {"y": inputs["x"]})).doubtful
