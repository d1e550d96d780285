"""Numbers are refused where a dtype would make others of them."""

from __future__ import annotations

import math

import pytest

from headrace.dtypes import holds


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        *(("bool", number) for number in (True, 0, 1.0)),
        *(("int32", number) for number in (True, -(2**31), 2**31 - 1, 3.0)),
        ("int64", 2**63 - 1),
        *(("float16", number) for number in (0.1, 65504, 6e-8, -0.0, math.inf, -math.inf, math.nan, True)),
        ("float32", 3.4e38),
        ("float64", 1e308),
    ],
)
def test_numbers_that_are_still_themselves(dtype: str, number: float) -> None:
    assert holds(dtype, number)


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        *(("bool", number) for number in (7, 0.5, -1, math.nan)),
        *(("int32", number) for number in (2**31, -(2**31) - 1, 0.7, 1e10, math.nan, math.inf)),
        ("int64", 10**23),
        *(("float16", number) for number in (65520, 1e30, 1e-9, -1e30)),
        ("float32", 1e39),
        ("float64", 10**400),
    ],
)
def test_numbers_that_would_become_others(dtype: str, number: float) -> None:
    assert not holds(dtype, number)
