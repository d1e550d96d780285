"""The ragged parts of a model, made custom operators while it is traced; and the layers for which that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.training.ragged import RaggedAttention, RaggedMean, RaggedPositions, RaggedRNN, State

from . import ops


def refuse(model: nn.Module) -> None:
    """Raises ConfigurationError if a recurrent layer would not become ragged."""
    ragged = {id(part.rnn) for part in model.modules() if isinstance(part, RaggedRNN)}
    for path, part in model.named_modules():
        if isinstance(part, nn.RNNBase) and (reason := _reason(part, id(part) in ragged)):
            raise ConfigurationError(f"{path or 'the model'}: {type(part).__name__} {reason}")


@contextmanager
def ragged_operators(model: nn.Module) -> Iterator[None]:
    """While open, the ragged parts of `model` are custom operators: only their instances' `forward` is overridden."""
    changed = [part for part in model.modules() if type(part) in _FORWARDS]
    for part in changed:
        vars(part)["forward"] = partial(_FORWARDS[type(part)], part)
    try:
        yield
    finally:
        for part in changed:
            del vars(part)["forward"]


def _reason(layer: nn.RNNBase, ragged: bool) -> str:
    if layer.proj_size:
        return "has proj_size, which ONNX has no operator for; use a Linear behind the layer"
    if layer.bidirectional:
        return "is bidirectional: it needs the end of a sequence before its first step, so it cannot be streamed"
    return "" if ragged else "takes padded batches; put it into a RaggedRNN"


def _rnn(part: RaggedRNN, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
    weights = [w for layer in part.rnn.all_weights for w in layer]
    if part.rnn.mode == "LSTM":
        y, h, c = ops.lstm(x, lengths, state["h"], state["c"], weights)
        return y, {"h": h, "c": c}
    y, h = ops.recurrent(x, lengths, state["h"], weights, part.rnn.mode)
    return y, {"h": h}


def _attention(part: RaggedAttention, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    y: Tensor = ops.attention(q, k, v, lengths, part.heads)
    return y


def _mean(part: RaggedMean, x: Tensor, lengths: Tensor) -> Tensor:
    y: Tensor = ops.mean(x, lengths)
    return y


def _positions(part: RaggedPositions, lengths: Tensor, tokens: Tensor) -> Tensor:
    y: Tensor = ops.positions(lengths, tokens)
    return y


_FORWARDS: dict[type[nn.Module], Callable[..., Any]] = {
    RaggedRNN: _rnn,
    RaggedAttention: _attention,
    RaggedMean: _mean,
    RaggedPositions: _positions,
}
