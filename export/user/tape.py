"""What the layers of a user's module share while it is traced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .packed import Reasons, Rows


@dataclass(slots=True)
class Tape:
    """What the layers read and write in one run on padded rows.

    lengths:  [rows]
    times:    [time], 0, 1, …
    begin:    the states at the beginning, rows first; layers that have none there begin as the module says
    inverses: of the layers with a projection, by their paths
    tokens:   any packed values, [tokens, ...]
    reasons:  why attention layers run padded
    ends:     the states at each row's own end
    """

    lengths: Tensor
    times: Tensor
    begin: Mapping[str, Tensor]
    inverses: Mapping[str, list[Tensor]]
    tokens: Tensor
    reasons: Reasons
    ends: dict[str, Tensor] = field(default_factory=dict)

    def rows(self) -> Rows:
        return Rows(self.lengths, self.times, self.tokens)

    def holds(self, path: str, x: Tensor, batch_first: bool) -> bool:
        """Whether the attention layer at `path` runs packed on `x`; if it could but for that, it is written down."""
        reasons = self.reasons.by_path
        if not reasons[path] and not self.rows().hold(x, batch_first):
            reasons[path] = "it is called with other tensors than [rows, time, width] of the sequences themselves"
        return not reasons[path]

    def padding(self) -> Tensor:
        """[rows, time] whether a cell is past its row's end."""
        return self.times >= self.lengths[:, None]
