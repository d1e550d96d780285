"""The slope of memory, and that sequences open and close as often as it says."""

from __future__ import annotations

from math import isnan

import pytest

from headrace.bench.connection import connected
from headrace.bench.leak import FRAMES, OPENS, ROWS, STEPS, Progress, Sample, churn, figures, slope

from ..server.fakes import SUM
from .echoes import echo, run

MIB = 1 << 20


def samples(sizes: list[float]) -> list[Sample]:
    """One every 100,000 steps, in MiB."""
    return [Sample(100_000 * number, int(size * MIB)) for number, size in enumerate(sizes)]


def test_a_straight_line_has_its_slope() -> None:
    assert slope(samples([100 + 0.2 * n for n in range(30)])) == pytest.approx(2.0, abs=1e-4)
    assert slope(samples([100.0] * 30)) == pytest.approx(0.0, abs=1e-9)


def test_the_first_tenth_does_not_count() -> None:
    warm = [10.0, 50.0, 90.0]  # 0 to 200,000 of 3 million steps
    assert slope(samples([*warm, *[100.0] * 28])) == pytest.approx(0.0, abs=1e-9)
    assert slope(samples([100.0] * 29 + [200.0])) > 1


def test_of_too_few_samples_nothing_is_said_and_nothing_is_reached() -> None:
    assert isnan(slope(samples([100.0])))
    (figure,) = figures(Progress(samples=samples([100.0])), 1.0)
    assert not figure.reached


def test_every_generation_opens_steps_and_closes_anew() -> None:
    async def test() -> Progress:
        progress = Progress()
        async with echo() as address, connected(address, SUM, 1) as (connection,):
            await churn(connection, 2, progress)
        return progress

    progress = run(test())
    assert (progress.opens, progress.steps) == (2 * ROWS, 2 * ROWS * FRAMES)
    assert FRAMES * OPENS == STEPS
