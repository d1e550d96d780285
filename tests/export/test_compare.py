"""Errors are relative to what is ordinary of the cell that they are in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import ArrayLike

from headrace.errors import ConfigurationError
from headrace.export.compare import difference, reference, typical
from headrace.export.streams import Batch, Named
from headrace.spec import Input

from .conftest import Traced


def compared(
    got: ArrayLike, want: ArrayLike, traced: Mapping[str, Traced], among: ArrayLike | None = None
) -> tuple[float, str]:
    """Of 3 tokens in rows of lengths 1 and 2. among: values of which the ordinary ones are typical"""
    results: tuple[Named, Named] = ({"logits": np.array(got)}, {"logits": np.array(want)})
    known = None if among is None else typical({"logits": np.array(among)})
    found = difference(*results, traced["tiny-lm"].spec, Batch({}, np.array([1, 2])), "whole", known)
    return found.error, found.where


def test_errors_are_relative_to_the_ordinary_magnitude_or_a_larger_one(traced: Mapping[str, Traced]) -> None:
    error, where = compared([1.0, 50.0, 2.5], [1.0, 50.0, 2.0], traced)
    assert error == pytest.approx(0.25)
    assert where == "logits at row 1, time step 1 of lengths [1, 2], whole"
    assert compared([1.0, 51.0, 2.0], [1.0, 50.0, 2.0], traced)[0] == pytest.approx(0.02)
    assert compared([1.1, 50.0, 2.0], [1.0, 50.0, 2.0], traced)[0] == pytest.approx(0.05)


def test_a_channel_of_prices_hides_no_other(traced: Mapping[str, Traced]) -> None:
    want = np.array([[1e4, 1.0], [1.1e4, -1.0], [0.9e4, 0.5]])
    error, where = compared(want * np.array([1.0, 1.001]), want, traced)
    assert error == pytest.approx(1e-3) and "row" in where


def test_a_mask_of_large_numbers_hides_nothing(traced: Mapping[str, Traced]) -> None:
    want = np.array([-1e9, 1.0, 2.0])
    assert compared(want + np.array([0, 0.1, 0]), want, traced)[0] == pytest.approx(0.1 / 2)
    assert compared(want * np.array([1.01, 1, 1]), want, traced)[0] == pytest.approx(0.01)


def test_a_cell_that_is_small_by_chance_is_compared_to_what_is_ordinary(traced: Mapping[str, Traced]) -> None:
    small, ordinary = np.array([1e-5, 0.0, 1e-5]), [0.5, -1.0, 2.0]
    assert compared(small + 1e-7, small, traced)[0] > 1e-3
    assert compared(small + 1e-7, small, traced, among=ordinary)[0] == pytest.approx(1e-7)


def test_a_cell_that_is_always_zero_is_compared_to_the_others(traced: Mapping[str, Traced]) -> None:
    want = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    assert compared(want + np.array([1e-7, 0]), want, traced)[0] == pytest.approx(5e-8)


def test_units_may_be_small(traced: Mapping[str, Traced]) -> None:
    want = np.array([1e-6, 2e-6, 3e-6])
    assert compared(want * 1.01, want, traced)[0] == pytest.approx(0.01)
    assert compared([0.0, 1e-8, 0.0], [0.0, 0.0, 0.0], traced)[0] == pytest.approx(1e-2)


def test_integers_are_the_same_or_wrong(traced: Mapping[str, Traced]) -> None:
    assert compared([1_000_000, 2, 3], [1_000_000, 2, 3], traced) == (0.0, "")
    error, where = compared([1_000_000, 2, 4], [1_000_000, 2, 3], traced)
    assert error == float("inf") and "row 1, time step 1" in where


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error_even_on_both_sides(traced: Mapping[str, Traced], bad: float) -> None:
    for got, want in (([1.0, bad, 2.0], [1.0, 1.0, 2.0]), ([1.0, bad, 2.0], [1.0, bad, 2.0])):
        error, where = compared(got, want, traced)
        assert error == float("inf") and "row 1, time step 0" in where


def test_a_truth_that_is_not_finite_is_told(traced: Mapping[str, Traced]) -> None:
    spec = traced["tiny-encoder"].spec

    def run(feed: Named) -> Named:
        return {o.name: np.full((1, *o.shape), np.nan, np.float32) for o in spec.outputs}

    with pytest.raises(ConfigurationError, match=r"PyTorch's own \w+ is not finite"):
        reference(run, spec, Input.sample, np.random.default_rng(0))
