"""A value that its dtype holds is written as such a number; one that it would bend is refused."""

from __future__ import annotations

import math

import pytest

from headrace.adopt.values import check, written
from headrace.contract import ELEMENTS, Declared
from headrace.errors import ConfigurationError
from headrace.spec import Dtype


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        ("int64", 16000, "16000"),
        ("int32", -(2.0**31), "-2147483648"),
        ("float32", 16000, "16000.0"),
        ("float32", 0.1, "0.1"),
        ("float32", 1e30, "1e+30"),
        ("float32", math.inf, "inf"),
        ("float64", math.nan, "nan"),
        ("bool", 1, "true"),
        ("bool", 0, "false"),
    ],
)
def test_what_a_dtype_holds_is_written_as_its_number(dtype: Dtype, value: float, text: str) -> None:
    check({"sr": value}, {"sr": Declared(ELEMENTS[dtype], ())})
    assert written(value, dtype) == text


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", 2.5),
        ("int64", 1e30),
        ("int64", 2.0**63),
        ("int64", math.nan),
        ("int32", math.inf),
        ("int32", 2.0**31),
        ("bool", 7),
        ("float16", 1e30),
        ("float32", 1e39),
    ],
)
def test_what_a_dtype_would_bend_is_refused(dtype: Dtype, value: float) -> None:
    words = rf"sr is {dtype} \[\]: its dtype does not hold"
    with pytest.raises(ConfigurationError, match=words):
        check({"sr": value}, {"sr": Declared(ELEMENTS[dtype], ())})


def test_every_wrong_value_is_named() -> None:
    inputs = {name: Declared(ELEMENTS["int64"], ()) for name in ("a", "b", "c")}
    with pytest.raises(ConfigurationError, match=r"^a is .* 2\.5; c is .* nan$"):
        check({"a": 2.5, "b": 1, "c": math.nan}, inputs)
