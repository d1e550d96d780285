"""Sources that wait to be read: a sequence of a model with a start graph begins with what that graph makes of one.

Such a sequence has its source pending, like a step: steps that come meanwhile wait behind it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from headrace.errors import InvalidInput
from headrace.spec import ModelSpec

from .steps import Array, Rows

TOKENS = 256
"""Time steps of sources that are read in one tick, unless a single one has more: running sequences wait for it."""


class Begun(NamedTuple):
    """Some sources, packed: of each input [tokens, ...]; numbers, lengths [rows]."""

    numbers: Rows
    source: tuple[Array, ...]
    lengths: Rows


class Starts:
    """Mutable: `_waiting`, numbers of sequences with their sources, oldest first."""

    def __init__(self, spec: ModelSpec, rows: int) -> None:
        self._start, self._name, self._rows = spec.start, spec.name, rows
        self._waiting: deque[tuple[int, tuple[Array, ...]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"Starts(waiting={len(self)})"

    def require(self, source: tuple[Array, ...]) -> None:
        """Raises InvalidInput for a source that the model does not take. Shapes and dtypes are right already."""
        if self._start is None:
            if source:
                raise InvalidInput(f"{self._name} takes no source; open the sequence without one")
            return
        if len(source) != len(self._start.inputs):
            raise InvalidInput(f"a sequence of {self._name} begins with a source; send it with the open")
        if not 1 <= len(source[0]) <= self._start.longest or len({len(values) for values in source}) > 1:
            raise InvalidInput(f"a source of {self._name} has 1 to {self._start.longest} time steps")
        for given, values in zip(self._start.inputs, source, strict=True):
            outside = given.vocabulary is not None and ((values < 0) | (values >= given.vocabulary)).any()
            if outside or (values.dtype.kind == "f" and not np.isfinite(values).all()):
                raise InvalidInput(f"{given.name} holds NaN, infinity, or a token id outside the vocabulary")

    def add(self, number: int, source: tuple[Array, ...]) -> None:
        """Behind those that wait; it was found right by `require`."""
        self._waiting.append((number, source))

    def holds(self, number: int) -> bool:
        """Whether the sequence's source waits."""
        return any(waiting == number for waiting, _ in self._waiting)

    def take(self) -> Begun | None:
        """The oldest ones, as many as one tick may read; None if none waits."""
        taken: list[tuple[int, tuple[Array, ...]]] = []
        room = TOKENS
        while self._waiting and len(taken) < self._rows and (not taken or len(self._waiting[0][1][0]) <= room):
            taken.append(self._waiting.popleft())
            room -= len(taken[-1][1][0])
        if not taken:
            return None
        numbers, sources = np.array([number for number, _ in taken], np.int64), [source for _, source in taken]
        packed = tuple(np.concatenate(values) for values in zip(*sources, strict=True))
        return Begun(numbers, packed, np.array([len(source[0]) for source in sources], np.int64))
