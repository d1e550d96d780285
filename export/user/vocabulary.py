"""How many ids an integer input has: as many as the embedding that takes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LookedUp = Sequence[tuple[nn.Embedding, Tensor]]
"""Embeddings, and the ids that each took, in one run of the module."""


def looked_up(x: Tensor, inputs: Sequence[Tensor], seen: LookedUp) -> int | None:
    """The number of ids that all embeddings have which take the input `x` as it is; None if none does for certain.

    inputs: all of the module's inputs in that run, `x` among them.
    """
    takes = [embedding for embedding, ids in seen if _shared(ids, x)]
    if not takes and _telling(x, inputs):
        takes = [embedding for embedding, ids in seen if _same_values(ids, x)]
    return min((embedding.num_embeddings for embedding in takes), default=None)


def _shared(ids: Tensor, x: Tensor) -> bool:
    """Whether they are one tensor, or views of one: then values need not be looked at."""
    return ids.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def _telling(x: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Whether a copy of `x` can be told from all else by its values: they differ, and no other input has the same."""
    others = [other for other in inputs if other is not x and not other.is_floating_point()]
    return bool(x.min() != x.max()) and not any(_same_values(other, x) for other in others)


def _same_values(a: Tensor, b: Tensor) -> bool:
    """The same integers, in whatever layout."""
    return a.numel() == b.numel() and torch.equal(a.flatten().sort()[0], b.flatten().sort()[0])
