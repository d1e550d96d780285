"""Pictures are drawn of whatever was measured."""

from __future__ import annotations

from math import nan
from pathlib import Path

import numpy as np
import pytest

from headrace.bench.figures import Figure
from headrace.bench.plots import EDGE, bars, histogram, line, margin

PNG = b"\x89PNG"


@pytest.mark.parametrize(
    ("figure", "times"),
    [
        (Figure("rate", 50, "steps/s", 25, at_least=True), 2),
        (Figure("rate", 5, "steps/s", 10, at_least=True), 0.5),
        (Figure("cost", 3, "x", 1.5), 0.5),
        (Figure("cost", 1, "x", 2), 2),
        (Figure("slope", -8, "MiB", 1), EDGE),
        (Figure("rate", 0, "steps/s", 10, at_least=True), 1 / EDGE),
        (Figure("cost", 1e9, "x", 1), 1 / EDGE),
    ],
)
def test_better_is_more_whichever_way_the_bound_is_meant(figure: Figure, times: float) -> None:
    assert margin(figure) == pytest.approx(times)


@pytest.mark.parametrize("figures", [[], [Figure("told", 1, "x")], [Figure("a", 1, "x", 2), Figure("b", nan, "x", 2)]])
def test_bounds_are_drawn_even_if_there_are_none(figures: list[Figure], tmp_path: Path) -> None:
    bars(tmp_path / "a.png", figures)
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_latencies_and_lines_are_drawn(tmp_path: Path) -> None:
    histogram(tmp_path / "h.png", np.geomspace(0.1, 9, 100), "ms", {"bound": 12.0})
    line(tmp_path / "l.png", [0, 1, 2], [1, 2, 1], "steps", "MiB")
    assert all((tmp_path / name).read_bytes().startswith(PNG) for name in ("h.png", "l.png"))
