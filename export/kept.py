"""Caches as ordinary states, padded, so that whatever drives models with states drives those with caches too."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from headrace.ragged import starts
from headrace.spec import FILLED, LENGTHS, PAST, Cache, Dtype, ModelSpec, State

from .caches import NEW, plain
from .streams import Named, Runner

CELLS = 64
"""Cells of a row, for sequences that are driven to see how right a graph is; more than any of them has steps."""

SOURCE, ROOM = 5, 9
"""Cells in use, and there, of a cache that a start graph would fill; what stands in the others must not matter."""

END = "_end"
"""Behind the name of a cache's tensor, or of a count: as it is after the step."""


def plainly(graph: onnx.ModelProto, spec: ModelSpec) -> tuple[onnx.ModelProto, ModelSpec]:
    """The same model of standard operators, its caches as states; a model without caches as it is."""
    return (plain(graph, spec), as_states(spec)) if spec.caches else (graph, spec)


def as_states(spec: ModelSpec) -> ModelSpec:
    """The spec with PAST, FILLED and each cache's tensors among its states; filled caches begin with noise."""
    counts = {PAST: 0, FILLED: SOURCE}
    states = [_state(name, (), "int64", float(counts[name])) for name in spec.counts]
    rng = np.random.default_rng(0)
    for cache in spec.caches:
        states += [_cells(name, cache, rng) for name in (cache.keys, cache.values)]
    return spec.model_copy(update={"states": (*spec.states, *states), "caches": (), "longest": None, "start": None})


def keeping(run: Runner, grown: list[str]) -> Runner:
    """`run` of a graph made by `plain`: writes the cells that a step adds behind those in use, and counts them.

    grown: names of the tensors of growing caches. Tensors of the feed are written in place where they have room.
    """

    def step(feed: Named) -> Named:
        lengths, past = feed[LENGTHS].astype(np.int64), feed.get(PAST, np.zeros(1, np.int64)).astype(np.int64)
        used = {name: feed[name][:, : past.max()] for name in grown}
        got = run(feed | used)
        ends = {name + END: appended(feed[name], got.pop(name + NEW), lengths, past) for name in grown}
        counts = {PAST + END: past + lengths} if PAST in feed else {}
        still = {name + END: value for name, value in feed.items() if name == FILLED or _is_cells(name, ends)}
        return got | ends | counts | still

    return step


def appended(
    cells: NDArray[np.generic], new: NDArray[np.generic], lengths: NDArray[np.int64], past: NDArray[np.int64]
) -> NDArray[np.generic]:
    """cells [rows, cells, heads, width] with new [tokens, heads, width] behind each row's own.

    Written in place where there is room; else the answer has twice as many cells as are needed.
    """
    needed = int((past + lengths).max())
    if needed > cells.shape[1]:
        more = np.zeros((len(cells), 2 * needed - cells.shape[1], *cells.shape[2:]), cells.dtype)
        cells = np.concatenate([cells, more], 1)
    row = np.repeat(np.arange(len(lengths)), lengths)  # [tokens]
    cells[row, past[row] + np.arange(len(row)) - starts(lengths)[row]] = new
    return cells


def _is_cells(name: str, ends: Named) -> bool:
    return name.endswith((".keys", ".values")) and name + END not in ends


def _cells(name: str, cache: Cache, rng: np.random.Generator) -> State:
    shape = (ROOM if cache.filled else CELLS, cache.heads, cache.width)
    noise = tuple(rng.standard_normal(shape).ravel().tolist())
    return _state(name, shape, cache.dtype, noise if cache.filled else 0.0)


def _state(name: str, shape: tuple[int, ...], dtype: Dtype, begin: float | tuple[float, ...]) -> State:
    return State(name=name, input=name, output=name + END, dtype=dtype, shape=shape, initial=begin)
