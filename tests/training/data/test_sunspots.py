"""The sunspots are those of the source, at the years they belong to."""

from __future__ import annotations

from headrace.training.data import sunspots


def test_years_are_where_they_belong() -> None:
    assert len(sunspots.load()) == 309
    assert sunspots.years(1700, 1703).tolist() == [5, 11, 16, 23]
    assert sunspots.years(1957, 1957).tolist() == [sunspots.load().max()]
    assert len(sunspots.years(sunspots.SCORED, sunspots.LAST)) == 35
