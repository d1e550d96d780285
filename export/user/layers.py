"""The stock layers inside a user's module, made ragged while it is traced; the module itself is not touched.

Only the `forward` of instances is overridden, and the packing functions of torch in the user's own files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn as packing
from torch.utils._pytree import tree_leaves

from headrace.errors import ConfigurationError

from .. import padded_ops as ops
from ..overrides import flat
from . import watch
from .attention import ATTENTION
from .tape import Tape


@dataclass(frozen=True, slots=True)
class Packed:
    """Stands for a PackedSequence: the padded tensor itself, [rows, time, ...], with the tape's lengths."""

    x: Tensor

    @property
    def data(self) -> Tensor:
        raise ConfigurationError(
            "the module reads the data of a PackedSequence; apply the layer before packing or after unpacking"
        )


@contextmanager
def ragged(module: nn.Module, tape: Tape) -> Iterator[None]:
    """While open, the layers of `module` begin at the tape's states and end each row at its own length."""
    changed = [(part, make(tape, path, part)) for path, part in module.named_modules() if (make := _maker(part))]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would pass by the overridden attention
    for part, forward in changed:
        vars(part)["forward"] = forward
    try:
        with _packing_replaced(module, tape):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, _ in changed:
            del vars(part)["forward"]


def _maker(part: nn.Module) -> Callable[[Tape, str, Any], Callable[..., Any]] | None:
    for kind, make in _FORWARDS.items():
        if isinstance(part, kind):
            return make
    return None


def _recurrent(tape: Tape, path: str, layer: nn.RNNBase) -> Callable[..., Any]:
    names, directions = watch.state_names(path, layer), 1 + layer.bidirectional

    def forward(input: Tensor | Packed, hx: Any = None) -> tuple[Any, Any]:
        x = input.x if isinstance(input, Packed) else input if layer.batch_first else input.transpose(0, 1)
        start = [s.transpose(0, 1) for s in tree_leaves(hx)] if hx is not None else _zeros(layer, x)
        start = [tape.begin.get(name, s) for name, s in zip(names, start, strict=True)]  # [rows, layers, width]
        if layer.mode == "LSTM":
            y, *ends = ops.padded_lstm(x, tape.lengths, *start, flat(layer), tape.inverses.get(path, []), directions)
        else:
            y, *ends = ops.padded_recurrent(x, tape.lengths, *start, flat(layer), layer.mode, directions)
        tape.ends |= dict(zip(names, ends, strict=True))
        back = tuple(end.transpose(0, 1) for end in ends)  # [layers, rows, width]
        out = Packed(y) if isinstance(input, Packed) else y if layer.batch_first else y.transpose(0, 1)
        return out, back if len(back) > 1 else back[0]

    return forward


def _zeros(layer: nn.RNNBase, x: Tensor) -> list[Tensor]:
    layers = layer.num_layers * (1 + layer.bidirectional)
    widths = (layer.proj_size or layer.hidden_size, layer.hidden_size)[: 1 + (layer.mode == "LSTM")]
    return [x.new_zeros(x.shape[0], layers, width) for width in widths]


def _cell(tape: Tape, path: str, cell: nn.RNNCellBase) -> Callable[..., Any]:
    """Called in one time step: it begins at the tape's state, whatever the module says."""
    names, stock = watch.state_names(path, cell), type(cell).forward

    def forward(input: Tensor, hx: Any = None) -> Any:
        begin = tuple(tape.begin[name] for name in names)  # each [rows, width]
        result = stock(cell, input, begin if len(begin) > 1 else begin[0])
        tape.ends |= dict(zip(names, tree_leaves(result), strict=True))
        return result

    return forward


_FORWARDS: dict[Any, Callable[[Tape, str, Any], Callable[..., Any]]] = {
    watch.LAYERS: _recurrent,
    watch.CELLS: _cell,
    **ATTENTION,
}


@contextmanager
def _packing_replaced(module: nn.Module, tape: Tape) -> Iterator[None]:
    """While open, torch's packing functions are ours wherever the module's classes can name them."""

    def pack(input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> Packed:
        return Packed(input if batch_first else input.transpose(0, 1))

    def unpack(
        sequence: Packed, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        padding = tape.padding()[(..., *[None] * (sequence.x.dim() - 2))]  # [rows, time, 1…]
        x = sequence.x.masked_fill(padding, padding_value)
        return (x if batch_first else x.transpose(0, 1)), tape.lengths

    ours = {packing.pack_padded_sequence: pack, packing.pad_packed_sequence: unpack}
    kept = [(space, n, f) for space in _spaces(module) for n, f in vars(space).items() if _hashable(f) and f in ours]
    for space, name, function in kept:
        vars(space)[name] = ours[function]
    try:
        yield
    finally:
        for space, name, function in kept:
            vars(space)[name] = function


def _spaces(module: nn.Module) -> list[ModuleType]:
    """The Python modules in which the classes of `module` are written, and torch's own of packing."""
    names = {kind.__module__ for part in module.modules() for kind in type(part).__mro__}
    return [packing, *(sys.modules[n] for n in names if n in sys.modules and not n.startswith("torch."))]


def _hashable(value: Any) -> bool:
    return callable(value) and isinstance(value, Callable) and type(value).__hash__ is not None  # type: ignore[arg-type]
