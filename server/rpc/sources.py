"""The source that a sequence or text of a model with a start graph begins with."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from headrace.errors import InvalidInput
from headrace.spec import ModelSpec

from ..steps import Array
from .cells import CELLS
from .frames import read_values


def read_source(cells: Sequence[bytes], spec: ModelSpec) -> tuple[Array, ...]:
    """For each input of the start graph [time, *shape]; empty if nothing is given. The lane checks what they hold.

    Raises InvalidInput for a model without start graph, another number of inputs, or bytes that do not fit.
    """
    if not cells:
        return ()
    if spec.start is None:
        raise InvalidInput(f"{spec.name} has no start graph, so it takes no source; leave it out")
    inputs = spec.start.inputs
    if len(cells) != len(inputs):
        names = ", ".join(i.name for i in inputs)
        raise InvalidInput(f"a source of {spec.name} has {len(inputs)} inputs ({names}), this one has {len(cells)}")
    time = len(cells[0]) // (prod(inputs[0].shape) * CELLS[inputs[0].dtype].itemsize)
    return tuple(read_values(given, wanted, time) for given, wanted in zip(cells, inputs, strict=True))
