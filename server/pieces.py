"""How a state lies in arenas: whole, or one arena for each layer where the graph only takes it apart and joins it.

A stack of layers reads `Gather(state, k, axis=1)` for its layer k and ends with `Concat(layer by layer, axis=1)`. With
an arena for each layer, both are what Gather and ScatterND of the arena do anyway, and two copies of the state vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from headrace.spec import State

from .values import Values

LAYERS = 1
"""The axis of a batch of states, [rows, layers, ...], along which they are taken apart."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one arena holds of a state.

    part:  of the state's first axis; None for the whole state
    flat:  one layer without that axis
    read:  the value of the graph that it gives, [rows, *shape]
    written: the value that it becomes, [rows, *shape], with an axis of one layer before `shape` if it is flat
    """

    state: State
    part: range | None
    flat: bool
    read: str
    written: str

    @property
    def name(self) -> str:
        return self.state.name if self.part is None else f"{self.state.name}:{self.part.start}"

    @property
    def shape(self) -> tuple[int, ...]:
        if self.part is None:
            return self.state.shape
        return self.state.shape[1:] if self.flat else (len(self.part), *self.state.shape[1:])

    @property
    def joined(self) -> tuple[int, ...]:
        """The shape in which the pieces of a state are joined along its first axis."""
        return self.state.shape if self.part is None else (len(self.part), *self.state.shape[1:])

    @property
    def real(self) -> bool:
        """Whether its cells may be not finite."""
        return np.dtype(self.state.dtype).kind == "f"

    def cells(self) -> NDArray[Any]:
        """The value of a fresh sequence, [*shape]."""
        cells = self.state.cells()
        if self.part is not None:
            cells = cells[self.part.start : self.part.stop]
        return np.ascontiguousarray(cells).reshape(self.shape)


def whole(state: State) -> Piece:
    return Piece(state, None, False, state.input, state.output)


def pieces(state: State, values: Values) -> tuple[Piece, ...]:
    """The state's pieces in their order; itself whole where the graph does more than to take it apart and join it."""
    readers = [node for node in values.makers.values() if state.input in node.input]
    read = sorted(_reads(state, readers, values), key=lambda each: each[0].start)
    if len(read) != values.uses[state.input] or not _cover(state, [part for part, _, _ in read]):
        return (whole(state),)
    ends = _ends(state, [part for part, _, _ in read], values)
    if not ends:
        return (whole(state),)
    return tuple(Piece(state, part, flat, name, end) for (part, flat, name), end in zip(read, ends, strict=True))


def _reads(state: State, readers: list[onnx.NodeProto], values: Values) -> list[tuple[range, bool, str]]:
    """Of each reader that is a Gather of neighbouring layers: which, whether without their axis, and its result."""
    found = []
    for node in readers:
        part = values.cells(node.input[1]) if node.op_type == "Gather" and _axis(node) == LAYERS else None
        if part is None or not state.shape:
            continue
        layers = np.atleast_1d(part).astype(np.int64) % state.shape[0]
        if part.ndim < 2 and np.array_equal(layers, layers[0] + np.arange(len(layers))):
            found.append((range(int(layers[0]), int(layers[-1]) + 1), part.ndim == 0, node.output[0]))
    return found


def _cover(state: State, parts: list[range]) -> bool:
    """Whether they are all layers, each once."""
    return [layer for part in parts for layer in part] == list(range(state.shape[0] if state.shape else 0))


def _ends(state: State, parts: list[range], values: Values) -> list[str]:
    """The value that each part becomes; none if the state is not joined from just these."""
    if len(parts) == 1:
        return [state.output]
    node = values.makers.get(state.output)
    if node is None or node.op_type != "Concat" or _axis(node) != LAYERS or values.uses[state.output]:
        return []
    shapes = [(None, len(part), *state.shape[1:]) for part in parts]
    fits = [values.shape(name)[1:] for name in node.input] == [shape[1:] for shape in shapes]
    return list(node.input) if fits else []


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
