"""ModelSpec: what a served model needs and gives, written as JSON into the `.onnx` file's metadata_props.

The file is the contract between export and server: the server reads nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from .errors import ConfigurationError
from .parts import Cache, Chunk, Dtype, Generation, Input, Name, Output, Parity, Part, Score, Start, State, Text

__all__ = [
    "FILLED",
    "LENGTHS",
    "METADATA_KEY",
    "PAST",
    "ROWS",
    "TOKENS",
    "Cache",
    "Chunk",
    "Dtype",
    "Generation",
    "Input",
    "ModelSpec",
    "Name",
    "Output",
    "Parity",
    "Score",
    "Signature",
    "Start",
    "State",
    "Text",
]

#: The key under which the spec stands in `metadata_props`.
METADATA_KEY = "headrace.spec"

#: The graph input that carries the rows' lengths: int64 [rows].
LENGTHS = "lengths"

#: Graph inputs of models with caches, int64 [rows]: time steps before this step, and cells that the start graph filled.
PAST, FILLED = "past", "filled"

#: Names of a graph's two symbolic axes: time steps of all rows back to back, and rows.
TOKENS: Literal["tokens"] = "tokens"
ROWS: Literal["rows"] = "rows"


@dataclass(frozen=True, slots=True)
class Signature:
    """A tensor of the graph, [tokens, *shape] or [rows, *shape]; `axis` is the name of its first, symbolic axis."""

    name: str
    dtype: Dtype
    axis: Literal["tokens", "rows"]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join([self.axis, *map(str, self.shape)])}]"


class ModelSpec(Part):
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
    generation: Generation | None = None
    """Given for models that can write on."""
    scores: tuple[Score, ...] = ()
    parity: Parity | None = None
    versions: dict[str, str] = Field(default_factory=dict)
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
        endless = all(cache.filled or cache.window is not None for cache in self.caches)
        if self.longest is None and not endless:
            raise ValueError("longest: must be given where caches grow, unless each has a window")
        if self.longest is not None and PAST not in self.counts:
            raise ValueError("longest: must be given where caches grow, and only there")
        if (FILLED in self.counts) is (self.start is None):
            raise ValueError("start: must be given where caches are filled, and only there")
        return self

    @model_validator(mode="after")
    def _generation_fits(self) -> ModelSpec:
        if self.generation is None:
            return self
        count = self.inputs[0].vocabulary
        if len(self.inputs) != 1 or self.inputs[0].shape or count is None:
            raise ValueError("generation: a model that writes on has one input, a token id each time step")
        found = [o for o in self.outputs if o.name == self.generation.output and o.time and o.shape == (count,)]
        if not found:
            raise ValueError(f"generation: {self.generation.output} is no output of {count} logits each time step")
        if any(token is not None and token >= count for token in (self.generation.begin, self.generation.end)):
            raise ValueError(f"generation: begin and end lie in [0, {count})")
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
