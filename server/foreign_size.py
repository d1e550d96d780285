"""Sizes in a `model.toml` that no client could use, refused before anything of that size is made."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec

from .foreign_names import context

#: Bytes of one sequence's state. A graph of 2 GB is the largest that there is, and it holds a state twice.
STATE = 1 << 28


def check_sizes(spec: ModelSpec, frame: int) -> None:
    """Raises ConfigurationError naming every size that is too large; `frame`: bytes of the largest request."""
    if wrong := list(_problems(spec, frame)):
        raise ConfigurationError("; ".join(wrong))


def _problems(spec: ModelSpec, frame: int) -> Iterator[str]:
    time = spec.chunk.exactly or 1
    step = time * sum(_bytes(given.shape, given.dtype) for given in spec.inputs)
    if step > frame:
        yield f"a step of {time} time steps has {step} bytes, and {frame} are the most (frame_bytes)"
    contexts = {context(given.name) for given in spec.inputs}
    for state in spec.states:
        size, most = _bytes(state.shape, state.dtype), frame if state.name in contexts else STATE
        if size > most:
            yield f"{state.name} has {size} bytes in each sequence, and {most} are the most"


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return prod(shape) * np.dtype(dtype).itemsize
