"""Checks of steps against the model's spec: by columns, so that a good frame costs a few array operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, InvalidInput, SequenceFull
from headrace.ragged import starts
from headrace.spec import Chunk, Input, ModelSpec

from .steps import Array, Rows, Steps, holds, occurs, single

Mask = NDArray[np.bool_]
Problem = tuple[Mask, InvalidInput]


def problems(spec: ModelSpec, steps: Steps) -> Iterator[Problem]:
    """For each rule that some rows break: which rows [rows], and what to tell them.

    Shapes and dtypes are right already: the wire layer cannot build `Steps` otherwise.
    """
    if not _lengths_fit(spec.chunk, steps.lengths):
        yield from _lengths(spec, steps.lengths)
    for given, values in zip(spec.inputs, steps.values, strict=True):
        if wrong := _wrong(given, values):
            cells, message = wrong
            yield _rows_with(cells, steps.lengths), InvalidInput(message)


def values_fit(spec: ModelSpec, pieces: Sequence[Steps]) -> bool:
    """Whether the model takes every cell of the pieces' values."""
    for place, given in enumerate(spec.inputs):
        for piece in pieces:
            if _wrong(given, piece.values[place]):
                return False
    return True


def endings(spec: ModelSpec, steps: Steps) -> Iterator[tuple[Mask, HeadraceError]]:
    """For each way in which a sequence can have ended: which rows [rows] would go on behind it, and what to tell them.

    Positions are the sequences' own. One way at most: chunks of `exactly` and caches do not go together.
    """
    exactly = spec.chunk.exactly
    if exactly is not None and occurs(over := steps.positions % exactly != 0):
        yield over, _was_shorter(exactly)
    elif spec.longest is not None and occurs(over := steps.positions + steps.lengths > spec.longest):
        yield over, SequenceFull(f"a sequence of {spec.name} has at most {spec.longest} time steps; begin another one")


def _was_shorter(exactly: int) -> InvalidInput:
    return InvalidInput(
        f"the sequence has ended: its last step was shorter than the {exactly} time steps of the others; open a new one"
    )


def _lengths_fit(chunk: Chunk, lengths: Rows) -> bool:
    """Whether the model takes every step, as far as its length goes."""
    if chunk.exactly is not None and not chunk.padded_end:
        return holds(lengths == chunk.exactly)
    return single(lengths) or not occurs((lengths < 1) | (lengths > chunk.longest))


def _lengths(spec: ModelSpec, lengths: Rows) -> Iterator[Problem]:
    longest, exactly = spec.chunk.longest, spec.chunk.exactly
    yield from _broken(lengths < 1, "a step needs at least one time step; its length is 0 or less")
    if exactly is None:
        too_long = f"a step of {spec.name} has at most {longest} time steps; send it in several"
        yield from _broken(lengths > longest, too_long)
    elif spec.chunk.padded_end:
        last = f"{spec.name} takes steps of exactly {exactly} time steps; only the last of a sequence may be shorter"
        yield from _broken(lengths > exactly, last)
    else:
        yield from _broken(lengths != exactly, f"{spec.name} takes steps of exactly {exactly} time steps")


def _wrong(given: Input, values: Array) -> tuple[NDArray[np.bool_], str] | None:
    """Which cells [tokens, ...] no model takes, and what to tell of them; None if there are none."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        return None if holds(finite) else (~finite, f"{given.name} holds NaN or infinity; send finite numbers")
    if given.vocabulary is None:
        return None
    outside = (values < 0) | (values >= given.vocabulary)
    message = f"{given.name} holds a token id outside 0 to {given.vocabulary - 1}; use the model's symbols"
    return (outside, message) if occurs(outside) else None


def _rows_with(bad: Array, lengths: Rows) -> Mask:
    """[tokens, ...] → [rows]: whether any cell of a row is bad."""
    tokens = bad.reshape(len(bad), -1).any(axis=1)
    count = np.concatenate([[0], np.cumsum(tokens)])
    first = starts(lengths)
    mask: Mask = count[first + lengths] > count[first]
    return mask


def _broken(rows: Mask, message: str) -> Iterator[Problem]:
    if rows.any():
        yield rows, InvalidInput(message)
