"""Caches of one kind lie the same way in memory: as many cells of a row, and the same of them in use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headrace.errors import ConfigurationError
from headrace.spec import Cache, ModelSpec

BYTES = np.dtype(np.float32).itemsize


@dataclass(frozen=True, slots=True)
class Kind:
    """heads, width: of one cell. window: 0 for none.

    room: cells of a row. kept: cells that stay when those of a window are moved to the front, 0 if they never are.
    """

    heads: int
    width: int
    filled: bool
    window: int
    room: int
    kept: int

    @property
    def cell_bytes(self) -> int:
        """Of one cell of keys and one of values."""
        return 2 * BYTES * self.heads * self.width


@dataclass(frozen=True, slots=True)
class Layout:
    """The caches of a model, and of each the number of its kind."""

    kinds: tuple[Kind, ...]
    caches: tuple[Cache, ...]
    of: tuple[int, ...]

    def kind(self, cache: int) -> Kind:
        return self.kinds[self.of[cache]]

    @property
    def cell_bytes(self) -> int:
        """Of one time step of a sequence."""
        return sum(self.kinds[k].cell_bytes for k in self.of if not self.kinds[k].filled)

    @property
    def source_bytes(self) -> int:
        """Of one time step of a source."""
        return sum(self.kinds[k].cell_bytes for k in self.of if self.kinds[k].filled)


def layout(spec: ModelSpec, page: int) -> Layout:
    """page: a row's bytes are a multiple of it. Raises ConfigurationError for another dtype than float32."""
    if wrong := [cache.name for cache in spec.caches if cache.dtype != "float32"]:
        raise ConfigurationError(
            f"{spec.name}: caches are served in float32 on the CPU, and {wrong[0]} is not; export it so"
        )
    found = [_kind(cache, spec, page) for cache in spec.caches]
    kinds = tuple(dict.fromkeys(found))
    return Layout(kinds, spec.caches, tuple(kinds.index(kind) for kind in found))


def _kind(cache: Cache, spec: ModelSpec, page: int) -> Kind:
    """A windowed row keeps what its next token sees, and a step more, for a step that fails is taken back whole.

    With twice as many cells they are moved to the front seldom: a token costs the move of one cell.
    """
    if cache.filled:
        assert spec.start is not None
        room, kept = spec.start.longest, 0
    elif cache.window is None:
        assert spec.longest is not None
        room, kept = spec.longest, 0
    else:
        kept = cache.window - 1 + spec.chunk.longest
        room = 2 * kept + spec.chunk.longest
        if spec.longest is not None and spec.longest <= room:
            room, kept = spec.longest, 0
    aligned = page // math.gcd(page, cache.heads * cache.width * BYTES)
    return Kind(cache.heads, cache.width, cache.filled, cache.window or 0, -(-room // aligned) * aligned, kept)
