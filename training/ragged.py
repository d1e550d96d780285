"""The operations that look across the time steps of a row, on packed tokens.

Everything else in a model acts on one token at a time and may be any torch operation on packed values. These four are
what an exporter has to know: it overrides the `forward` of their instances by operators of the target format.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

State = dict[str, Tensor]
"""A model's named states, each [rows, layers, width]."""

Recurrent = nn.GRU | nn.LSTM | nn.RNN


class RaggedRNN(nn.Module):
    """A stock recurrent module over packed rows of different lengths, its state going in and coming out by name.

    `rnn` may have any of its options. The states are "h" and, for an LSTM, "c": [rows, layers, width] as `shapes` says,
    on return those after each row's own last step. A bidirectional one begins at both ends of whole rows: it needs no
    state, and the one it returns has the directions of a layer side by side, [rows, 2 * layers, width].
    """

    def __init__(self, rnn: Recurrent) -> None:
        super().__init__()
        self.rnn = rnn
        self.names = ("h", "c") if isinstance(rnn, nn.LSTM) else ("h",)

    @property
    def width(self) -> int:
        """Of the output: hidden units, or their projection, of all directions."""
        return (self.rnn.proj_size or self.rnn.hidden_size) * (1 + self.rnn.bidirectional)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """By name, the shape of a row's state: (layers, width); a projection (Sak et al. 2014) is of h alone."""
        layers = self.rnn.num_layers * (1 + self.rnn.bidirectional)
        widths = {"h": self.rnn.proj_size or self.rnn.hidden_size, "c": self.rnn.hidden_size}
        return {name: (layers, widths[name]) for name in self.names}

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [tokens, features], lengths [rows] → y [tokens, width], state."""
        state = state or self.fresh(x, lengths)
        start = [state[name].transpose(0, 1).contiguous() for name in self.names]  # each [layers, rows, width]
        sizes = lengths.tolist()
        if min(sizes) == max(sizes):
            y, end = self._equal(x, len(sizes), start)
        else:
            y, end = self._packed(x, sizes, start)
        return y, {name: s.transpose(0, 1) for name, s in zip(self.names, end, strict=True)}

    def fresh(self, x: Tensor, lengths: Tensor) -> State:
        """Zeros for every row. Raises ValueError in one direction, where a state left out would be a state lost."""
        if not self.rnn.bidirectional:
            raise ValueError("a recurrent module in one direction needs its state")
        return {name: x.new_zeros(lengths.shape[0], *shape) for name, shape in self.shapes.items()}

    def _equal(self, x: Tensor, rows: int, start: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Rows of one length are a plain batch; torch's kernels run it faster than a packed one."""
        batch = x.view(rows, -1, x.shape[-1])  # [rows, time, features]
        y, end = self._run(batch if self.rnn.batch_first else batch.transpose(0, 1), start)
        assert isinstance(y, Tensor)
        return (y if self.rnn.batch_first else y.transpose(0, 1)).flatten(0, 1), end

    def _packed(self, x: Tensor, sizes: list[int], start: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, end = self._run(pack_sequence(list(torch.split(x, sizes)), enforce_sorted=False), start)
        assert isinstance(y, PackedSequence)
        return torch.cat(unpack_sequence(y)), end

    def _run(
        self, x: Tensor | PackedSequence, start: list[Tensor]
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, ...]]:
        """The stock module takes and gives a pair of states for an LSTM, a bare one otherwise."""
        if isinstance(self.rnn, nn.LSTM):
            y, end = self.rnn(x, (start[0], start[1]))
            return y, end
        y, h = self.rnn(x, start[0])
        return y, (h,)


class RaggedAttention(nn.Module):
    """Scaled dot-product attention of every token to all tokens of its own row (Vaswani et al. 2017, equation 1)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
        """q, k, v [tokens, width], lengths [rows] → [tokens, width]; `width` is split among the heads."""
        valid = torch.arange(int(lengths.max()), device=q.device) < lengths[:, None]  # [rows, time]
        q, k, v = (self._padded(t, valid) for t in (q, k, v))  # [rows, heads, time, width / heads]
        # Some runtimes' kernels broadcast no query axis: the mask is expanded to [rows, 1, time, time].
        mask = valid[:, None, None, :].expand(-1, 1, valid.shape[1], -1)
        y = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return y.transpose(1, 2).flatten(2)[valid]

    def _padded(self, x: Tensor, valid: Tensor) -> Tensor:
        """x [tokens, width], valid [rows, time] → [rows, heads, time, width / heads], zero where not valid."""
        padded = x.new_zeros(*valid.shape, x.shape[-1])
        padded[valid] = x
        return padded.view(*valid.shape, self.heads, -1).transpose(1, 2)


class RaggedMean(nn.Module):
    """The mean over each row's own tokens."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x [tokens, width], lengths [rows] → [rows, width]."""
        row = torch.repeat_interleave(lengths)  # [tokens]
        sums = x.new_zeros(len(lengths), x.shape[-1]).index_add(0, row, x)
        return sums / lengths[:, None]


class RaggedPositions(nn.Module):
    """The place of each token in its own row, from 0."""

    def forward(self, lengths: Tensor, tokens: Tensor) -> Tensor:
        """lengths [rows], any packed values [tokens, ...] → [tokens] int64."""
        first = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)  # [tokens]
        return torch.arange(len(tokens), device=tokens.device) - first
