"""Attention layers while a user's module is traced: packed where that is proved, else padded, their padding masked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import packed
from .suspects import same
from .tape import Tape


def _attention(tape: Tape, path: str, layer: nn.MultiheadAttention) -> Callable[..., Any]:
    """Packed where a row looks at itself, else padded."""
    padded, heads = _padded_attention(tape, layer), layer.num_heads

    def forward(query: Tensor, key: Tensor, value: Tensor, *given: Any, **named: Any) -> tuple[Tensor, Tensor | None]:
        if query is not key or key is not value or not tape.holds(path, query, layer.batch_first):
            return padded(query, key, value, *given, **named)
        how, rows = inspect.signature(padded).bind(query, key, value, *given, **named), tape.rows()
        how.apply_defaults()
        hidden = how.arguments["attn_mask"], how.arguments["key_padding_mask"]
        x = packed.attention(layer, rows, rows.packed(query, layer.batch_first), packed.scores(*hidden, heads))
        # If nobody uses the weights, none of what makes them is left in the graph.
        weights = padded(*how.args)[1] if how.arguments["need_weights"] else None
        return rows.padded(x, layer.batch_first), weights

    return forward


def _padded_attention(tape: Tape, layer: nn.MultiheadAttention) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """The stock one; keys that are padding get no weight."""
    stock = type(layer).forward

    def padded(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if same(key.shape[1 if layer.batch_first else 0], tape.times.shape[0]):
            floating = attn_mask is not None and attn_mask.is_floating_point()
            key_padding_mask = _masked(key_padding_mask, tape.padding(), floating)
        return stock(
            layer,
            query,
            key,
            value,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )

    return padded


def _masked(mask: Tensor | None, padding: Tensor, floating: bool) -> Tensor:
    """A mask [rows, time] that has the padding in it too, in the kind of what is there already."""
    if mask is not None and not mask.is_floating_point():
        return mask | padding
    if mask is None and not floating:
        return padding
    given = torch.zeros_like(padding, dtype=torch.float32) if mask is None else mask
    return given.masked_fill(padding, -torch.inf)


def _encoder(tape: Tape, path: str, layer: nn.TransformerEncoder) -> Callable[..., Any]:
    """Packed, or the stock one; that need not look into a mask for whether it is causal, which no tracer can do."""
    stock = type(layer).forward

    def forward(src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None) -> Any:
        if not tape.reasons.by_path[path] and tape.holds(path, src, packed.first(layer).batch_first):
            heads, rows = packed.first(layer).num_heads, tape.rows()
            return packed.encoder(layer, rows, src, packed.scores(mask, src_key_padding_mask, heads))
        return stock(layer, src, mask, src_key_padding_mask, bool(is_causal))

    return forward


def _encoder_layer(tape: Tape, path: str, layer: nn.TransformerEncoderLayer) -> Callable[..., Any]:
    """Packed, or the stock one."""
    stock, attend = type(layer).forward, layer.self_attn

    def forward(src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        if not tape.holds(path, src, attend.batch_first):
            return stock(layer, src, src_mask, src_key_padding_mask, is_causal)
        rows = tape.rows()
        bias = packed.scores(src_mask, src_key_padding_mask, attend.num_heads)
        y = packed.encoder_layer(layer, rows, rows.packed(src, attend.batch_first), bias)
        return rows.padded(y, attend.batch_first)

    return forward


def _decoder(tape: Tape, path: str, layer: nn.TransformerDecoder) -> Callable[..., Any]:
    """As `_encoder`."""
    stock = type(layer).forward

    def forward(*given: Any, **named: Any) -> Any:
        arguments = inspect.signature(stock).bind(layer, *given, **named).arguments
        return stock(**arguments | {"tgt_is_causal": bool(arguments.get("tgt_is_causal"))})

    return forward


ATTENTION: dict[Any, Callable[[Tape, str, Any], Callable[..., Any]]] = {
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoder: _encoder,
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.TransformerDecoder: _decoder,
}
"""By the kind of layer: the tape, the layer's path and the layer → its `forward`."""
