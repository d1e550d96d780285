"""Stock attention layers on packed tokens: what acts on one token runs on the rows' own time steps alone.

    padded x ─▶ unpad ─▶ norms, linear layers [tokens, width] ─▶ pad ─▶ padded y
                          attention within each row, on a padded view of its own

A layer is taken so only if it can be proved to be the stock one around parts that act on each token by itself; whatever
else runs padded, as the module says, and `reason` tells why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .. import ops, padded_ops
from .suspects import same

Layer = nn.TransformerEncoder | nn.TransformerEncoderLayer | nn.MultiheadAttention
LAYERS = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)

STEPS = ("_sa_block", "_ff_block")
"""Methods of nn.TransformerEncoderLayer that a subclass may have written anew."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows' own time steps are: lengths [rows], times [time], and any packed values [tokens, ...]."""

    lengths: Tensor
    times: Tensor
    tokens: Tensor

    def hold(self, x: Tensor, batch_first: bool) -> bool:
        """Whether x is [rows, time, width], or [time, rows, width], by its symbols."""
        wanted = (self.lengths.shape[0], self.times.shape[0])
        return x.dim() == 3 and all(map(same, x.shape[:2], wanted if batch_first else wanted[::-1]))

    def packed(self, x: Tensor, batch_first: bool) -> Tensor:
        """→ [tokens, width]."""
        y: Tensor = padded_ops.unpad(x if batch_first else x.transpose(0, 1), self.lengths, self.tokens)
        return y

    def padded(self, x: Tensor, batch_first: bool) -> Tensor:
        """x [tokens, width] → as `packed` took it."""
        y: Tensor = padded_ops.pad(x, self.lengths, self.times)
        return y if batch_first else y.transpose(0, 1)


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why attention layers run padded, by their paths; "" of those that run packed.

    Not the bare dictionary: a tracer sets what it finds in a module back to what it was.
    """

    by_path: dict[str, str]

    @classmethod
    def of(cls, module: nn.Module) -> Reasons:
        """Runs parts of the layers; to be called in evaluation mode, before anything is traced."""
        found = ((path, part) for path, part in module.named_modules() if isinstance(part, LAYERS))
        return cls({path: reason(part) for path, part in found})

    def lines(self) -> tuple[str, ...]:
        """One for each layer that runs padded; those inside of one that is told are left out."""
        shown: list[str] = []
        for path, why in self.by_path.items():
            if why and not any(path.startswith(f"{other}.") for other in shown):
                shown.append(path)
        return tuple(f"{path or 'the module'} runs on padded rows: {self.by_path[path]}" for path in shown)


def reason(layer: Layer) -> str:
    """Why `layer` cannot be packed; "" if it can."""
    if isinstance(layer, nn.TransformerEncoder):
        return _of_encoder(layer)
    return _of_layer(layer) if isinstance(layer, nn.TransformerEncoderLayer) else _of_attention(layer)


def encoder(layer: nn.TransformerEncoder, rows: Rows, src: Tensor, bias: Tensor | None) -> Tensor:
    """The whole stack, packed once: src and the answer as the layers take them, bias as of `scores`."""
    batch_first = first(layer).batch_first
    x = rows.packed(src, batch_first)  # [tokens, width]
    for part in layer.layers:
        assert isinstance(part, nn.TransformerEncoderLayer)
        x = encoder_layer(part, rows, x, bias)
    return rows.padded(x if layer.norm is None else layer.norm(x), batch_first)


def first(layer: nn.TransformerEncoder) -> nn.MultiheadAttention:
    """The attention of its first layer; the others' is alike."""
    part = layer.layers[0]
    assert isinstance(part, nn.TransformerEncoderLayer)
    return part.self_attn


def encoder_layer(layer: nn.TransformerEncoderLayer, rows: Rows, x: Tensor, bias: Tensor | None) -> Tensor:
    """x [tokens, width] → the same (Vaswani et al. 2017, figure 1; norms first: Xiong et al. 2020)."""
    if layer.norm_first:
        x = x + attention(layer.self_attn, rows, layer.norm1(x), bias)
        return x + layer._ff_block(layer.norm2(x))
    x = layer.norm1(x + attention(layer.self_attn, rows, x, bias))
    y: Tensor = layer.norm2(x + layer._ff_block(x))
    return y


def attention(layer: nn.MultiheadAttention, rows: Rows, x: Tensor, bias: Tensor | None) -> Tensor:
    """x [tokens, width] → the same, each token having looked at those of its own row."""
    q, k, v = linear(x, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)  # each [tokens, width]
    if bias is None:
        y = ops.attention(q, k, v, rows.lengths, layer.num_heads)
    else:
        y = ops.biased_attention(q, k, v, rows.lengths, bias, layer.num_heads)
    return linear(y, layer.out_proj.weight, layer.out_proj.bias)


def scores(mask: Tensor | None, key_padding_mask: Tensor | None, heads: int) -> Tensor | None:
    """The user's own masks as what is added to the scores, [1 or rows, 1 or heads, 1 or time, time]; None if none is.

    mask: [time, time] or [rows * heads, time, time]; key_padding_mask: [rows, time]. True hides, floats are added.
    """
    parts = []
    if key_padding_mask is not None:
        parts.append(_added(key_padding_mask)[:, None, None])
    if mask is not None:
        added = _added(mask)
        parts.append(added[None, None] if mask.dim() == 2 else added.view(-1, heads, *mask.shape[1:]))
    return sum(parts[1:], parts[0]) if parts else None


def _added(mask: Tensor) -> Tensor:
    """True becomes -inf, False 0; floats stay."""
    return mask if mask.is_floating_point() else torch.zeros(mask.shape).masked_fill(mask, -torch.inf)


def _of_encoder(stack: nn.TransformerEncoder) -> str:
    if type(stack).forward is not nn.TransformerEncoder.forward:
        return "it has a forward of its own"
    for number, part in enumerate(stack.layers):
        if not isinstance(part, nn.TransformerEncoderLayer):
            return f"its layer {number} is a {type(part).__name__}"
        if hooked(part):
            return f"its layer {number} has hooks"
        if why := _of_layer(part):
            return f"in its layer {number}, {why}"
    if len({part.self_attn.batch_first for part in stack.layers}) != 1:
        return "its layers differ in batch_first"
    right = stack.norm is None or by_token(stack.norm, first(stack).embed_dim)
    return "" if right else f"its norm {BESIDES}"


def _of_layer(layer: nn.TransformerEncoderLayer) -> str:
    kind, stock = type(layer), nn.TransformerEncoderLayer
    if kind.forward is not stock.forward:
        return "it has a forward of its own"
    if any(vars(stock)[step] is not _method(kind, step) for step in STEPS):
        return "it has a block of its own"
    if hooked(layer.self_attn):
        return "its attention has hooks"
    if why := _of_attention(layer.self_attn):
        return why
    width = layer.self_attn.embed_dim
    parts: dict[str, Callable[[Tensor], Tensor]]
    parts = {"norm1": layer.norm1, "norm2": layer.norm2, "feed-forward block": layer._ff_block}
    wrong = [name for name, part in parts.items() if not by_token(part, width)]
    return f"its {wrong[0]} {BESIDES}" if wrong else ""


BESIDES = "does not act on each token by itself"


def _of_attention(layer: nn.MultiheadAttention) -> str:
    if type(layer).forward is not nn.MultiheadAttention.forward:
        return "its attention has a forward of its own"
    if not layer._qkv_same_embed_dim:
        return "its keys or values have another width"
    return "its attention adds a key to each row" if layer.bias_k is not None or layer.add_zero_attn else ""


def _method(kind: type, name: str) -> Any:
    return next(vars(base)[name] for base in kind.__mro__ if name in vars(base))


def hooked(part: nn.Module) -> bool:
    """Whether somebody looks at, or changes, what goes in or comes out; a packed layer would pass it by."""
    return bool(part._forward_hooks or part._forward_pre_hooks)


@torch.no_grad()
def by_token(part: Callable[[Tensor], Tensor], width: int) -> bool:
    """Whether `part` gives a token [width] the same among others, padded or packed, and alone."""
    x = torch.randn(3, 5, width, generator=torch.Generator().manual_seed(0))  # [rows, time, width]
    try:
        y, packed, alone = part(x), part(x.flatten(0, 1)), part(x[1, 2:3])
    except (RuntimeError, ValueError, IndexError):
        return False
    return _alike(y.flatten(0, 1), packed) and _alike(y[1, 2:3], alone)


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0.0, atol=1e-5 * max(1.0, float(b.abs().max())))
