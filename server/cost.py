"""What a batch of a model without states costs. Plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[Any])
"""One batch's, or those of several."""


@dataclass(frozen=True, slots=True)
class Cost:
    """In time steps, as they cost where linear layers run on packed ones: call + tokens + cell x rows x longest².

    call: what any batch costs, however small. cell: one cell of a row's attention, all layers and heads together; every
    row has as many as the longest of its batch, for there the graph pads. The defaults are those of four layers of
    width 256 on one core; `measure.py` finds a model's own.
    """

    call: float = 4.0
    cell: float = 1 / 2048

    def own(self, tokens: Number, squares: Number) -> Number:
        """Of rows whose lengths and their squares sum up to these, if nothing were padded and nothing called."""
        return tokens + self.cell * squares

    def of(self, rows: Number, tokens: Number, longest: Number) -> Number:
        """Of a batch of so many rows and time steps in all, the longest row of so many."""
        whole: Number = self.call + self.own(tokens, rows * longest**2)
        return whole
