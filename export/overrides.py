"""The ragged parts of a model, made custom operators while it is traced; and the layers for which that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec
from headrace.training.cached import CachedAttention, CrossAttention, Rotary
from headrace.training.ragged import RaggedAttention, RaggedMean, RaggedPositions, RaggedRNN, State

from . import ops
from .caches import cached_attention, cross_attention
from .rotary import rotary


def refuse(model: nn.Module, spec: ModelSpec) -> None:
    """Raises ConfigurationError if a recurrent layer would not become ragged, or cannot be streamed as `spec` says."""
    ragged = {id(part.rnn) for part in model.modules() if isinstance(part, RaggedRNN)}
    for path, part in model.named_modules():
        if isinstance(part, nn.RNNBase) and (reason := _reason(part, id(part) in ragged, spec)):
            raise ConfigurationError(f"{path or 'the model'}: {type(part).__name__} {reason}")


@contextmanager
def ragged_operators(model: nn.Module) -> Iterator[None]:
    """While open, the ragged parts of `model` are custom operators: only their instances' `forward` is overridden."""
    changed = [part for part in model.modules() if type(part) in _FORWARDS]
    for part in changed:
        vars(part)["forward"] = _FORWARDS[type(part)](part)
    try:
        yield
    finally:
        for part in changed:
            del vars(part)["forward"]


def recurrent_layer(rnn: nn.RNNBase) -> Callable[..., tuple[Tensor, ...]]:
    """A stock module as the operator: packed x, lengths and states [rows, layers, width] → y and the states' ends."""
    inner, directions = inverses(rnn), 1 + rnn.bidirectional
    if rnn.mode != "LSTM":
        return lambda x, lengths, h: ops.recurrent(x, lengths, h, flat(rnn), rnn.mode, directions)
    return lambda x, lengths, h, c: ops.lstm(x, lengths, h, c, flat(rnn), inner, directions)


def flat(rnn: nn.RNNBase) -> list[Tensor]:
    """The weights of all layers and directions, as the operators take them."""
    return [weight for layer in rnn.all_weights for weight in layer]


def inverses(rnn: nn.RNNBase) -> list[Tensor]:
    """Of each projection its pseudo-inverse. To be made before tracing, so that the graph holds them as constants."""
    return [torch.linalg.pinv(layer[-1].detach()) for layer in rnn.all_weights if rnn.proj_size]


def _reason(layer: nn.RNNBase, ragged: bool, spec: ModelSpec) -> str:
    if layer.bidirectional and not spec.chunk.whole:
        return (
            "is bidirectional: it needs the end of a sequence before its first step, so it cannot be streamed; "
            "let the model take whole sequences"
        )
    return "" if ragged else "takes padded batches; put it into a RaggedRNN"


def _rnn(part: RaggedRNN) -> Callable[..., tuple[Tensor, State]]:
    layer = recurrent_layer(part.rnn)

    def forward(x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        state = state or part.fresh(x, lengths)
        y, *end = layer(x, lengths, *(state[name] for name in part.names))
        return y, dict(zip(part.names, end, strict=True))

    return forward


def _attention(part: RaggedAttention) -> Callable[..., Tensor]:
    return lambda q, k, v, lengths: ops.attention(q, k, v, lengths, part.heads)


def _mean(part: RaggedMean) -> Callable[..., Tensor]:
    return ops.mean


def _positions(part: RaggedPositions) -> Callable[..., Tensor]:
    return ops.positions


_FORWARDS: dict[type[nn.Module], Callable[[Any], Callable[..., Any]]] = {
    RaggedRNN: _rnn,
    RaggedAttention: _attention,
    RaggedMean: _mean,
    RaggedPositions: _positions,
    CachedAttention: cached_attention,
    CrossAttention: cross_attention,
    Rotary: rotary,
}
