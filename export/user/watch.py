"""A user's module watched while it runs as it is: from which states its recurrent layers begin, and where they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from .names import clean

CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
LAYERS = (nn.LSTM, nn.GRU, nn.RNN)


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a layer: what it was given, and what it gave."""

    input: Any
    start: tuple[Tensor, ...]
    """Its states at the beginning, [layers, rows, width] or of a cell [rows, width]; none if it was left to it."""
    output: Any


@dataclass(slots=True)
class Watched:
    """All calls in one run of the module, by the paths of the layers; and the ids that its embeddings took."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    looked_up: list[tuple[nn.Embedding, Tensor]] = field(default_factory=list)

    def note(self, path: str, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        start = given[1] if len(given) > 1 else named.get("hx")
        leaves = () if start is None else tuple(tree_leaves(start))
        self.runs.setdefault(path, []).append(Run(given[0] if given else named["input"], leaves, output))


def recurrent(module: nn.Module) -> dict[str, nn.Module]:
    """The recurrent layers and cells in `module`, by their paths."""
    return {path: part for path, part in module.named_modules() if isinstance(part, (*LAYERS, *CELLS))}


@contextmanager
def watched(module: nn.Module) -> Iterator[Watched]:
    """While open, what its layers do is written down."""
    seen, hooks = Watched(), list[RemovableHandle]()
    for path, part in module.named_modules():
        if isinstance(part, (*LAYERS, *CELLS)):
            hooks.append(part.register_forward_hook(_noting(seen, path), with_kwargs=True))
        elif isinstance(part, nn.Embedding):
            hooks.append(part.register_forward_hook(_looking(seen)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def state_names(path: str, layer: nn.Module) -> tuple[str, ...]:
    """Of a layer at `path`: "path.h" and, of an LSTM, "path.c"; of the module itself "h" and "c". Cleaned."""
    kinds = ("h", "c") if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else ("h",)
    return tuple(clean(f"{path}.{kind}") for kind in kinds)


def starts(layer: nn.Module, run: Run) -> tuple[Tensor, ...]:
    """From what the layer began, rows first: [rows, layers, width], of a cell [rows, width]; zeros if not given."""
    given = run.start or tuple(end.new_zeros(end.shape) for end in _given_back(layer, run))
    return tuple(_rows_first(layer, state) for state in given)


def ends(layer: nn.Module, run: Run) -> tuple[Tensor, ...]:
    """Where it ended, rows first."""
    return tuple(_rows_first(layer, state) for state in _given_back(layer, run))


def own(layer: nn.Module, run: Run) -> tuple[Tensor, ...]:
    """The very tensors in which it gave its states back."""
    return _given_back(layer, run)


def _given_back(layer: nn.Module, run: Run) -> tuple[Tensor, ...]:
    states = run.output if isinstance(layer, CELLS) else run.output[1]
    return tuple(tree_leaves(states))


def _rows_first(layer: nn.Module, state: Tensor) -> Tensor:
    return state if isinstance(layer, CELLS) else state.transpose(0, 1)


def _noting(seen: Watched, path: str) -> Any:
    def hook(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        seen.note(path, given, named, output)

    return hook


def _looking(seen: Watched) -> Any:
    def hook(layer: nn.Embedding, given: tuple[Any, ...], output: Any) -> None:
        seen.looked_up.extend((layer, ids) for ids in given)

    return hook
