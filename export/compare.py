"""How far answers are from those wanted: each cell against its own magnitude, so that a large one hides no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec

from .streams import Batch, Draw, Grid, Named, Runner, alone, drive

FLOOR = 1e-3
"""No cell is compared to less than this share of the largest one of its tensor, or of 1 where that is larger."""

REFERENCE = Grid(sizes=(16,), longest=16)

Typical = Mapping[str, NDArray[np.float64]]
"""By the tensor's name, the magnitude that is typical of each of its cells, [*shape]."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest relative error of a run over a batch of `rows` sequences cut as `cut` says, and where it is."""

    error: float
    where: str
    rows: int
    cut: str


def reference(truth: Runner, spec: ModelSpec, draw: Draw, rng: np.random.Generator) -> Typical:
    """Of a batch large enough that no cell is small in it by chance alone.

    Raises ConfigurationError if the truth is not finite there, so that nothing can be compared with it.
    """
    (batch,) = replace(REFERENCE, draw=draw).batches(spec, rng)
    results = drive(truth, spec, batch, alone)
    for name, values in results.items():
        if not np.isfinite(values).all():
            raise ConfigurationError(
                f"{spec.name}: PyTorch's own {name} is not finite, so that nothing can be compared with it; "
                "give an example whose values the model takes, and mask with large numbers"
            )
    return typical(results)


def typical(results: Named) -> Typical:
    """The median magnitude at each place of the last axis, [*shape]: a mask of -1e9 here and there is no part of it."""
    return {name: _typical(values) for name, values in results.items() if values.dtype.kind == "f"}


def difference(
    got: Named, want: Named, spec: ModelSpec, batch: Batch, what: str, among: Typical | None = None
) -> Difference:
    """The largest error of all that is wanted, each cell relative to its magnitude or, if larger, to the typical one.

    among: what is typical; by default that of `want` itself. Integers that differ at all are wholly wrong.
    """
    among = typical(want) if among is None else among
    timed = {output.name for output in spec.outputs if output.time}
    worst = Difference(0.0, "", len(batch.lengths), what)
    for name, right in want.items():
        error, index = _relative(got[name], right, among.get(name))
        if error > worst.error:
            worst = replace(worst, error=error, where=_where(name, index, batch, name in timed, what))
    return worst


def _where(name: str, index: int, batch: Batch, timed: bool, what: str) -> str:
    row, step = batch.row(index) if timed else (index, None)
    place = f"row {row}" if step is None else f"row {row}, time step {step}"
    return f"{name} at {place} of lengths {batch.lengths.tolist()}, {what}"


def _typical(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """values [n, *shape] → [*shape]: one magnitude for each place of the last axis, over all that share it.

    Zeros are left out; places that hold nothing else are taken for an ordinary one. Axes before the last one are of
    layers, heads or time steps of a cache, some of them filled so rarely that chance alone would say what is typical.
    """
    shape = values.shape[1:]
    sizes = np.abs(values.astype(np.float64)).reshape(-1, *shape[-1:] or (1,))  # [n and other axes, last]
    used = np.ma.masked_where((sizes == 0) | ~np.isfinite(sizes), sizes)
    found: NDArray[np.float64] = np.asarray(np.ma.median(used, axis=0).filled(0.0))  # type: ignore[no-untyped-call]  # [cells]
    ordinary = np.median(found[found > 0]) if (found > 0).any() else 0.0
    scales: NDArray[np.float64] = np.where(found > 0, found, ordinary)
    least = FLOOR * min(max(float(scales.max(initial=0.0)), FLOOR), 1.0)
    return np.broadcast_to(scales.clip(min=least).reshape(shape[-1:]), shape)


def _relative(
    got: NDArray[np.generic], want: NDArray[np.generic], among: NDArray[np.float64] | None
) -> tuple[float, int]:
    """The largest relative error of [n, *shape], and at which n. What is not finite, on either side, is wholly wrong.

    among: [*shape], None where only the same will do
    """
    if got.shape != want.shape:
        return float("inf"), 0
    if want.dtype.kind != "f" or among is None:
        same = (got == want).reshape(len(want), -1).all(1)  # [n]
        return (0.0, 0) if same.all() else (float("inf"), int(same.argmin()))
    right = want.astype(np.float64)
    with np.errstate(invalid="ignore"):
        errors = np.abs(got.astype(np.float64) - right) / np.maximum(np.abs(right), among)
    worst = errors.reshape(len(want), -1).max(1)  # [n]
    if not np.isfinite(worst).all():
        return float("inf"), int(np.isfinite(worst).argmin())
    return float(worst.max()), int(worst.argmax())
