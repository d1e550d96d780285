"""`model.toml`: what an `.onnx` file that somebody else made does not say of itself. It stands beside the file.

Axes are said by example: `axes = ["batch", "time", 4]` or `[2, "batch", 128]`. From them the loader knows what to
transpose. Dtypes are the graph's own. `docs/adopt.md` explains every key.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import ConfigurationError
from .spec import Name

#: Name of the file, beside `model.onnx`.
FOREIGN_FILE = "model.toml"

BATCH: Literal["batch"] = "batch"
TIME: Literal["time"] = "time"


def _known_axes(given: Any) -> Any:
    """Before pydantic's own check, which would tell each member of the union."""
    if not isinstance(given, list | tuple):
        raise ValueError('axes are a list, such as ["batch", "time", 4]')
    wrong = [axis for axis in given if axis not in (BATCH, TIME) and (type(axis) is not int or axis < 1)]
    if wrong:
        raise ValueError(f'an axis is "batch", "time" or its size, not {wrong[0]!r}')
    return given


def _numbers(given: Any) -> Any:
    cells = given if isinstance(given, list | tuple) else [given]
    if not cells or not all(type(cell) in (bool, int, float) for cell in cells):
        raise ValueError(f"needs a number, or a list of all cells in C order, not {given!r}")
    return given


def _exact(given: Any) -> Any:
    """Initial values are floats in a spec: a whole number that no float is would become another one."""
    cells = given if isinstance(given, list | tuple) else [given]
    if any(type(cell) is int and abs(cell) > 2**53 for cell in cells):
        raise ValueError("whole numbers beyond 2**53 are rounded, as initial values are floats of 64 bits")
    return given


Axes = Annotated[tuple[str | int, ...], BeforeValidator(_known_axes)]
Number = bool | int | float
Value = Annotated[Number | tuple[Number, ...], BeforeValidator(_numbers)]
Initial = Annotated[float | tuple[float, ...], BeforeValidator(_exact), BeforeValidator(_numbers)]
Count = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]


def fixed(axes: tuple[str | int, ...]) -> tuple[int, ...]:
    """The sizes of the axes besides batch and time, in their order."""
    return tuple(axis for axis in axes if isinstance(axis, int))


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Tensor(_Part):
    """A tensor of the graph: `name` is what clients call it, `tensor` what the graph does, if that differs."""

    name: Name
    tensor: str = ""
    axes: Axes

    @property
    def source(self) -> str:
        return self.tensor or self.name

    @property
    def shape(self) -> tuple[int, ...]:
        return fixed(self.axes)

    @model_validator(mode="after")
    def _axes_differ(self) -> _Tensor:
        if self.axes.count(BATCH) > 1 or self.axes.count(TIME) > 1:
            raise ValueError(f"{self.name}: batch and time stand at most once in axes, got {list(self.axes)}")
        return self


class ForeignInput(_Tensor):
    vocabulary: Annotated[int, Field(strict=True, ge=1)] | None = None
    """For token ids: they lie in [0, vocabulary)."""
    context: int = Field(default=0, strict=True, ge=0, le=2**31 - 1)
    """So many time steps of the chunk before (zeros at first) stand before each chunk, and count to the time axis."""


class ForeignOutput(_Tensor):
    labels: tuple[str, ...] = ()
    """Names of the classes along the last axis, if it is one of classes."""


class ForeignState(_Part):
    """A state: what the graph gives as `output` is its `input` in the next step."""

    name: Name
    input: str = Field(min_length=1)
    output: str = Field(min_length=1)
    axes: Axes
    initial: Initial = 0.0
    """Value of a fresh sequence: one number for every cell, or all cells in C order, without the batch axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        return fixed(self.axes)

    @model_validator(mode="after")
    def _has_no_time(self) -> ForeignState:
        if TIME in self.axes or self.axes.count(BATCH) > 1:
            raise ValueError(f"{self.name}: a state has one batch axis at most and no time axis, got {list(self.axes)}")
        return self


class Constant(_Part):
    """An input that is the same for all rows at all times, such as a sample rate."""

    tensor: str = Field(min_length=1)
    value: Value


class Lengths(_Part):
    """The graph's input for the rows' lengths: the time steps of each row that are no padding."""

    tensor: str = Field(min_length=1)
    axes: Axes = (BATCH,)

    @model_validator(mode="after")
    def _one_each(self) -> Lengths:
        if self.axes.count(BATCH) > 1 or any(axis not in (BATCH, 1) for axis in self.axes):
            raise ValueError(f'axes of lengths are ["batch"], ["batch", 1] or [], got {list(self.axes)}')
        return self


class ForeignChunk(_Part):
    """How many time steps a step may carry: 1 to `longest`, or `exactly` so many; see `headrace.spec.Chunk`."""

    longest: Count | None = None
    exactly: Count | None = None
    padded_end: bool = Field(default=False, strict=True)
    rows: Count | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> ForeignChunk:
        if (self.longest is None) == (self.exactly is None):
            raise ValueError("give either longest, or exactly")
        if self.padded_end and self.exactly is None:
            raise ValueError("padded_end needs exactly: only chunks of one length have a last one to pad")
        return self

    @property
    def most(self) -> int:
        """Time steps of the longest chunk."""
        return self.exactly or self.longest or 1


class Foreign(_Part):
    """A `model.toml`."""

    format: Literal[1] = 1
    name: Name | None = None
    """By default the name of the folder that it is served from."""
    task: str = ""
    chunk: ForeignChunk
    inputs: tuple[ForeignInput, ...] = Field(min_length=1)
    outputs: tuple[ForeignOutput, ...] = Field(min_length=1)
    states: tuple[ForeignState, ...] = ()
    constants: tuple[Constant, ...] = ()
    lengths: Lengths | None = None

    @classmethod
    def read(cls, file: Path) -> Foreign:
        """Raises ConfigurationError naming every key that is wrong."""
        try:
            return cls.of(tomllib.loads(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{file} cannot be read: {error}") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"{file}: {error}") from error

    @classmethod
    def of(cls, given: dict[str, Any]) -> Foreign:
        """Raises ConfigurationError naming every key that is wrong."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            wrong = [(e["loc"], e["msg"]) for e in error.errors() if e["type"] != "too_short" or not e["input"]]
            raise ConfigurationError("; ".join(_problem(*each) for each in wrong)) from error


def _problem(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(map(str, place))
    return f"{where or 'the file'}: {message.removeprefix('Value error, ')}"
