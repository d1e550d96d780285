"""The parts of a ModelSpec: inputs, outputs, states, caches, and what else is said of a model."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .dtypes import holds

Dtype = Literal["float32", "float64", "float16", "int64", "int32", "bool"]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Input(Part):
    """A graph input, packed: [tokens, *shape]."""

    name: Name
    dtype: Dtype
    shape: tuple[int, ...] = ()
    """Axes of one time step, behind the packed token axis."""
    vocabulary: int | None = None
    """For token ids: they lie in [0, vocabulary)."""

    def sample(self, tokens: int, rng: np.random.Generator) -> NDArray[Any]:
        """Random values that the model takes, [tokens, *shape]."""
        shape, kind = (tokens, *self.shape), np.dtype(self.dtype).kind
        drawn = rng.standard_normal(shape, np.float32) if kind == "f" else rng.integers(0, self.vocabulary or 2, shape)
        return drawn.astype(self.dtype, copy=False)


class Output(Part):
    """A graph output: [tokens, *shape] if it has a time axis, else one result for each row, [rows, *shape]."""

    name: Name
    dtype: Dtype
    shape: tuple[int, ...] = ()
    time: bool
    """Whether its first axis counts packed tokens (one result each time step) or rows (one result each step)."""
    labels: tuple[str, ...] = ()
    """Names of the classes along the last axis, if it is one of classes."""


class State(Part):
    """A carried state, replaced at each step: the graph's input and output as one named pair, both [rows, *shape]."""

    name: Name
    input: Name
    output: Name
    dtype: Dtype
    shape: tuple[int, ...]
    initial: float | tuple[float, ...] = 0.0
    """Value of a fresh sequence: one number for every cell, or all cells in C order."""

    def cells(self) -> NDArray[Any]:
        """The value of a fresh sequence, [*shape]."""
        given = np.asarray(self.initial, self.dtype)
        return np.broadcast_to(given if given.ndim == 0 else given.reshape(self.shape), self.shape)

    @model_validator(mode="after")
    def _initial_fits(self) -> State:
        cells, size = self.initial if isinstance(self.initial, tuple) else (self.initial,), prod(self.shape)
        if isinstance(self.initial, tuple) and len(cells) != size:
            raise ValueError(f"state {self.name}: initial has {len(cells)} cells, not the {size} of its shape")
        if wrong := [cell for cell in cells if not holds(self.dtype, cell)]:
            raise ValueError(f"state {self.name}: {self.dtype} does not hold its initial value {wrong[0]}")
        return self


class Cache(Part):
    """An appended state: the keys and values of one attention node, of each one cell [heads, width] a time step.

    Nothing of it is an input or output of the graph: a neutral node names it, and whoever runs the graph keeps it.
    """

    name: Name
    heads: int = Field(ge=1)
    width: int = Field(ge=1)
    """Values of one head in one cell."""
    dtype: Dtype = "float32"
    filled: bool = False
    """Whether the start graph fills it, once and for all; otherwise each time step of the sequence adds a cell."""
    window: int | None = Field(default=None, ge=1)
    """Each time step sees so many cells, its own among them; all of them if None. Of a growing cache."""

    @model_validator(mode="after")
    def _window_slides(self) -> Cache:
        if self.filled and self.window is not None:
            raise ValueError(f"cache {self.name}: a filled cache does not grow, so that no window can slide over it")
        return self

    @property
    def keys(self) -> Name:
        """Name of the keys, where they are a tensor."""
        return f"{self.name}.keys"

    @property
    def values(self) -> Name:
        """Name of the values, where they are a tensor."""
        return f"{self.name}.values"


class Text(Part):
    """For models of text: the symbols; the token id is the index."""

    symbols: tuple[str, ...]
    separator: str = ""
    """Stands between two symbols of a text."""


class Start(Part):
    """A second graph, beside the first one: from a whole source to the cells of all filled caches."""

    inputs: tuple[Input, ...] = Field(min_length=1)
    longest: int = Field(ge=1)
    """The most time steps of a source, and cells of a filled cache."""
    text: Text | None = None


class Chunk(Part):
    """How many time steps one step may carry: 1 to `longest`; with `whole`, all of the sequence in one step."""

    longest: int = Field(ge=1)
    whole: bool = False
    exactly: int | None = Field(default=None, ge=1)
    """Every step carries just so many time steps."""
    padded_end: bool = False
    """With `exactly`: the last step may be shorter. It is padded inside the graph, and ends the sequence."""
    equal_lengths: bool = False
    """The rows of one batch must have equally many time steps: the model takes no `lengths`."""
    rows: int | None = Field(default=None, ge=1)
    """The most rows in a batch, where the model bounds them."""

    @model_validator(mode="after")
    def _exactly_fits(self) -> Chunk:
        if self.exactly is not None and self.exactly != self.longest:
            raise ValueError(f"exactly {self.exactly} and longest {self.longest} differ; give them the same number")
        if self.padded_end and self.exactly is None:
            raise ValueError("padded_end says that the last of chunks of `exactly` n is padded; give exactly")
        return self


class Score(Part):
    """One figure on real data, never seen in training or selection, beside the published one."""

    metric: str
    value: float
    published: str = ""
    better: Literal["higher", "lower"]
    gate: float | None = None
    """What a full training budget must reach; None where a budget was cut short."""
    data: str


class Parity(Part):
    """Largest relative error of the exported graph against eager PyTorch, over a grid of ragged batches."""

    error: float
    cases: int


class Generation(Part):
    """How a model of tokens writes on: each token is chosen by the logits of the one before, and is the next input."""

    output: Name
    """The logits of the next token, [tokens, vocabulary]."""
    begin: int | None = Field(default=None, ge=0)
    """The token before all others: a text without a prompt starts with it."""
    end: int | None = Field(default=None, ge=0)
    """The token that says that the text has ended; it is no part of it."""
