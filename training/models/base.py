"""What every model here is: one pure step over packed rows, and a description of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from headrace.spec import ModelSpec, State

from ..ragged import State as States


class SequenceModel(nn.Module, ABC):
    """A sequence model whose state is explicit: what it knows of a row's past goes in and comes out."""

    @abstractmethod
    def step(self, x: Any, lengths: Tensor, state: States) -> tuple[Any, States]:
        """The next time steps of many rows.

        x:       [tokens, features] float32 or [tokens] int64 ids, the rows' steps back to back; of several inputs a
                 tuple, in the order of the spec's; y of several outputs likewise
        lengths: [rows] int64, each at least 1
        state:   by name, each [rows, *shape] as `describe` says
        returns: y [tokens, ...], or [rows, ...] for an output without time axis, and the state after each row's end
        """

    @abstractmethod
    def describe(self, name: str) -> ModelSpec:
        """The spec of this model under `name`: all but the figures that training and export add."""

    def initial_state(self, rows: int) -> States:
        """The state of `rows` fresh sequences: by name, [rows, *shape]."""
        states = self.describe("fresh").states
        return {s.name: torch.tensor(s.cells()).repeat(rows, *[1] * len(s.shape)) for s in states}

    def forward(self, x: Any, lengths: Tensor, state: States) -> tuple[Any, States]:
        """`step`, so that a model can be called like any module."""
        return self.step(x, lengths, state)


def carried(name: str, layers: int, hidden: int) -> State:
    """The spec of a recurrent state: zeros [rows, layers, hidden] at the start."""
    return State(name=name, input=name, output=f"{name}_out", dtype="float32", shape=(layers, hidden))
