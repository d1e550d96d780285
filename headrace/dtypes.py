"""Which numbers a dtype can hold."""

from __future__ import annotations

import math

import numpy as np


def holds(dtype: str, number: float) -> bool:
    """Whether a number is still itself in that dtype. Floats may round it, but not to infinity or to zero."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return number in (0, 1)
    if kind == "f":
        floats = np.finfo(dtype)
        near = float(floats.smallest_subnormal) <= abs(number) <= float(floats.max)
        return number == 0 or near or number != number or abs(number) == math.inf
    integers = np.iinfo(dtype)
    return integers.min <= number <= integers.max and number == int(number)
