"""ModelSpec: what a served model needs and gives, written as JSON into the `.onnx` file's metadata_props.

The file is the contract between export and server: the server reads nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .dtypes import holds
from .errors import ConfigurationError

#: The key under which the spec stands in `metadata_props`.
METADATA_KEY = "headrace.spec"

#: The graph input that carries the rows' lengths: int64 [rows].
LENGTHS = "lengths"

#: Graph inputs of models with caches, int64 [rows]: time steps before this step, and cells that the start graph filled.
PAST, FILLED = "past", "filled"

#: Names of a graph's two symbolic axes: time steps of all rows back to back, and rows.
TOKENS: Literal["tokens"] = "tokens"
ROWS: Literal["rows"] = "rows"

Dtype = Literal["float32", "float64", "float16", "int64", "int32", "bool"]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]


@dataclass(frozen=True, slots=True)
class Signature:
    """A tensor of the graph, [tokens, *shape] or [rows, *shape]; `axis` is the name of its first, symbolic axis."""

    name: str
    dtype: Dtype
    axis: Literal["tokens", "rows"]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join([self.axis, *map(str, self.shape)])}]"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Input(_Part):
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


class Output(_Part):
    """A graph output: [tokens, *shape] if it has a time axis, else one result for each row, [rows, *shape]."""

    name: Name
    dtype: Dtype
    shape: tuple[int, ...] = ()
    time: bool
    """Whether its first axis counts packed tokens (one result each time step) or rows (one result each step)."""
    labels: tuple[str, ...] = ()
    """Names of the classes along the last axis, if it is one of classes."""


class State(_Part):
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


class Cache(_Part):
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

    @property
    def keys(self) -> Name:
        """Name of the keys, where they are a tensor."""
        return f"{self.name}.keys"

    @property
    def values(self) -> Name:
        """Name of the values, where they are a tensor."""
        return f"{self.name}.values"


class Start(_Part):
    """A second graph, beside the first one: from a whole source to the cells of all filled caches."""

    inputs: tuple[Input, ...] = Field(min_length=1)
    longest: int = Field(ge=1)
    """The most time steps of a source, and cells of a filled cache."""
    text: Text | None = None


class Chunk(_Part):
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


class Score(_Part):
    """One figure on real data, never seen in training or selection, beside the published one."""

    metric: str
    value: float
    published: str = ""
    better: Literal["higher", "lower"]
    gate: float | None = None
    """What a full training budget must reach; None where a budget was cut short."""
    data: str


class Parity(_Part):
    """Largest relative error of the exported graph against eager PyTorch, over a grid of ragged batches."""

    error: float
    cases: int


class Text(_Part):
    """For models of text: the symbols, one character each; the token id is the index."""

    symbols: tuple[str, ...]


class ModelSpec(_Part):
    """Everything about a model that its server and its clients need to know."""

    format: Literal[1] = 1
    name: Name
    task: str = ""
    inputs: tuple[Input, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)
    states: tuple[State, ...] = ()
    caches: tuple[Cache, ...] = ()
    longest: int | None = Field(default=None, ge=1)
    """Time steps that a sequence may have in all, and cells of its caches; given where caches grow."""
    start: Start | None = None
    chunk: Chunk
    text: Text | None = None
    scores: tuple[Score, ...] = ()
    parity: Parity | None = None
    versions: dict[str, str] = {}
    """Versions of the packages that made the file."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> ModelSpec:
        ins, outs = [t.name for t in self.graph_inputs], [t.name for t in self.graph_outputs]
        states, caches = [s.name for s in self.states], [c.name for c in self.caches]
        for what, names in (("inputs", ins), ("outputs", outs), ("states", states), ("caches", caches)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: names must differ, got {names}")
        return self

    @model_validator(mode="after")
    def _caches_are_bounded(self) -> ModelSpec:
        if (PAST in self.counts) is (self.longest is None):
            raise ValueError("longest: must be given where caches grow, and only there")
        if (FILLED in self.counts) is (self.start is None):
            raise ValueError("start: must be given where caches are filled, and only there")
        return self

    @property
    def counts(self) -> tuple[str, ...]:
        """Those of PAST and FILLED that the graph takes."""
        kinds = {FILLED if cache.filled else PAST for cache in self.caches}
        return tuple(name for name in (PAST, FILLED) if name in kinds)

    @property
    def graph_inputs(self) -> tuple[Signature, ...]:
        """In order: the inputs [tokens, ...], `lengths`, PAST and FILLED [rows], the states [rows, ...]."""
        packed = (Signature(i.name, i.dtype, TOKENS, i.shape) for i in self.inputs)
        counts = (Signature(name, "int64", ROWS, ()) for name in (LENGTHS, *self.counts))
        states = (Signature(s.input, s.dtype, ROWS, s.shape) for s in self.states)
        return (*packed, *counts, *states)

    @property
    def graph_outputs(self) -> tuple[Signature, ...]:
        """In order: the outputs, the states."""
        results = (Signature(o.name, o.dtype, TOKENS if o.time else ROWS, o.shape) for o in self.outputs)
        return (*results, *(Signature(s.output, s.dtype, ROWS, s.shape) for s in self.states))

    def started(self) -> ModelSpec:
        """The start graph as a model of its own: stateless, the keys and values of each filled cache as its outputs.

        Raises ConfigurationError if the model has none.
        """
        if self.start is None:
            raise ConfigurationError(f"{self.name} has no start graph")
        filled = [cache for cache in self.caches if cache.filled]
        return ModelSpec(
            name=self.name,
            task=f"start of: {self.task}",
            inputs=self.start.inputs,
            outputs=tuple(
                Output(name=n, dtype=c.dtype, shape=(c.heads, c.width), time=True)
                for c in filled
                for n in (c.keys, c.values)
            ),
            chunk=Chunk(longest=self.start.longest, whole=True),
            text=self.start.text,
        )

    @property
    def stateful(self) -> bool:
        """Whether its sequences have a state that the server keeps between steps."""
        return bool(self.states or self.caches)

    def summary(self) -> str:
        """One line for people: kind, inputs, outputs, scores and parity."""
        takes = ", ".join(f"{i.name} {_axes('time', i.shape)}" for i in self.inputs)
        gives = ", ".join(f"{o.name} {_axes('time' if o.time else '1', o.shape)}" for o in self.outputs)
        facts = [f"{s.metric} {s.value:.3f}" for s in self.scores]
        facts += [f"parity {self.parity.error:.0e}"] if self.parity else []
        return "  ".join(["stateful" if self.stateful else "stateless", f"{takes} -> {gives}", *facts])

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Raises ConfigurationError, naming every field that is wrong."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors())
            raise ConfigurationError(f"the model's spec cannot be used: {wrong}") from error


def _axes(first: str, shape: tuple[int, ...]) -> str:
    return f"[{', '.join([first, *map(str, shape)])}]"
