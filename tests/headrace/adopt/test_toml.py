"""Names and strings of a draft, whatever stands in the graph."""

from __future__ import annotations

import tomllib

import pytest

from headrace.adopt.toml import line, plain_names, quoted
from headrace.spec import LENGTHS


def test_names_that_a_spec_takes_are_kept() -> None:
    assert plain_names(["x", "h_0", "past.0.key"]) == {"x": "x", "h_0": "h_0", "past.0.key": "past.0.key"}


def test_names_that_would_be_one_are_numbered() -> None:
    assert plain_names(["x:0", "x/0", "é", "ü"]) == {"x:0": "x_0", "x/0": "x_0_2", "é": "x", "ü": "x_2"}


def test_a_kept_name_is_no_other_tensors_wherever_it_stands() -> None:
    assert plain_names(["x:0", "x_0", "x_0_2"]) == {"x:0": "x_0_3", "x_0": "x_0", "x_0_2": "x_0_2"}


def test_the_name_of_our_own_input_is_not_taken() -> None:
    assert plain_names([LENGTHS]) == {LENGTHS: f"their_{LENGTHS}"}


@pytest.mark.parametrize("text", ["x", "x😀", 'y"\\', "y\nz", "\x7f", "\ta", "\x00", "\u0085"])
def test_every_string_comes_back(text: str) -> None:
    assert tomllib.loads(line(f"tensor = {quoted(text)}"))["tensor"] == text


@pytest.mark.parametrize("text", ["ba\ntch = 3", "\r", "\x7f", "\x00", "😀"])
def test_a_comment_stays_one(text: str) -> None:
    assert tomllib.loads(line(f"# the graph: {text}")) == {}
