"""Values like those of the example: for the probes, and for the parity grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headrace.spec import Input

from ..streams import Draw


def probe(tensors: Sequence[Tensor], rows: int, time: int, seed: int) -> tuple[Tensor, ...]:
    """Tensors like those of the example, [rows, time, ...], with other values."""
    rng = np.random.default_rng(seed)
    drawn = (resampled(_cells(x), rows * time, rng) for x in tensors)
    return tuple(torch.from_numpy(y).reshape(rows, time, *y.shape[1:]) for y in drawn)


def drawing(tensors: Sequence[Tensor], inputs: Sequence[Input]) -> Draw:
    """Floats are drawn as in the example's tensors, [rows, time, ...] in the order of `inputs`; ids from all there are.

    A module that takes pascals or logarithms would be a constant, or not a number, of standard normal values.
    """
    cells = {i.name: _cells(x) for i, x in zip(inputs, tensors, strict=True) if x.is_floating_point()}

    def draw(one: Input, tokens: int, rng: np.random.Generator) -> NDArray[Any]:
        return resampled(cells[one.name], tokens, rng) if one.name in cells else one.sample(tokens, rng)

    return draw


def resampled(cells: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[Any]:
    """cells [n, *features] → [count, *features], each feature by itself; floats that never change are N(0, 1)."""
    shape = (count, *cells.shape[1:])
    drawn = np.take_along_axis(cells, rng.integers(len(cells), size=shape), 0)
    if cells.dtype.kind != "f":
        return drawn
    constant = (cells == cells[:1]).all(0)  # [*features]
    return np.where(constant, rng.standard_normal(shape, np.float32), drawn)


def _cells(x: Tensor) -> NDArray[Any]:
    """[rows, time, ...] → [rows * time, ...]"""
    cells: NDArray[Any] = x.detach().cpu().flatten(0, 1).numpy()
    return cells
