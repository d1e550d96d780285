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
"""A model's named states, each [rows, layers, hidden]."""

Recurrent = nn.GRU | nn.LSTM | nn.RNN


class RaggedRNN(nn.Module):
    """A stock recurrent module over packed rows of different lengths, its state going in and coming out by name.

    `rnn` is time-major and runs in one direction, with any number of layers. The states are "h" and, for an LSTM, "c":
    [rows, layers, hidden], on return those after each row's own last step.
    """

    def __init__(self, rnn: Recurrent) -> None:
        super().__init__()
        if rnn.batch_first or rnn.bidirectional or rnn.proj_size:
            raise ValueError("RaggedRNN needs a time-major module in one direction, without a projection")
        self.rnn = rnn
        self.names = ("h", "c") if isinstance(rnn, nn.LSTM) else ("h",)

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [tokens, features], lengths [rows] → y [tokens, hidden], state."""
        start = [state[name].transpose(0, 1).contiguous() for name in self.names]  # each [layers, rows, hidden]
        sizes = lengths.tolist()
        if min(sizes) == max(sizes):
            y, end = self._equal(x, len(sizes), start)
        else:
            y, end = self._packed(x, sizes, start)
        return y, {name: s.transpose(0, 1) for name, s in zip(self.names, end, strict=True)}

    def _equal(self, x: Tensor, rows: int, start: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Rows of one length are a plain batch; torch's kernels run it faster than a packed one."""
        y, end = self._run(x.view(rows, -1, x.shape[-1]).transpose(0, 1), start)  # [time, rows, features] → hidden
        assert isinstance(y, Tensor)
        return y.transpose(0, 1).flatten(0, 1), end

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
