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

    room: cells of a row. Where a window slides, the last `kept` cells are moved to the front before there would be
    more than `most` in use, unless a chunk needs them; kept is 0 where none does.
    """

    heads: int
    width: int
    filled: bool
    window: int
    room: int
    kept: int
    most: int

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
    aligned = page // math.gcd(page, cache.heads * cache.width * BYTES)
    room, kept, most = _cells(cache, spec)
    return Kind(
        cache.heads, cache.width, cache.filled, cache.window or 0, -(-room // aligned) * aligned, kept, most or room
    )


def _cells(cache: Cache, spec: ModelSpec) -> tuple[int, int, int]:
    """room, kept and most.

    A windowed row keeps what its next token sees, and as many cells as a step may have, for one that fails is taken
    back whole. Attention costs a token each cell in use, and the move each kept one, now and then: both together cost
    least where about 2 √kept tokens lie between two moves.
    """
    if cache.filled:
        assert spec.start is not None
        return spec.start.longest, 0, 0
    longest, chunk = spec.longest, spec.chunk.longest
    if cache.window is None:
        assert longest is not None
        return longest, 0, 0
    kept = cache.window - 1 + chunk
    most = kept + 2 * math.isqrt(kept)
    room = max(most, kept + chunk)
    return (longest, 0, 0) if longest is not None and longest <= room else (room, kept, most)
