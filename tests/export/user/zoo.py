"""Modules as people write them: nothing in them knows of packing, states or exports."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class LanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 6)
        self.rnn = nn.GRU(6, 8, 2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(8, 50)

    def forward(self, tokens: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, hx = self.rnn(self.embed(tokens), hx)
        return self.head(y), hx


class Speaker(nn.Module):
    """The last layer's state is the answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.front, self.lstm = nn.Linear(4, 6), nn.LSTM(6, 8, 2, batch_first=True, **options)
        self.out = nn.Linear(self.lstm.proj_size or 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        layers = 2 * (1 + self.lstm.bidirectional)
        h0 = torch.zeros(layers, x.size(0), self.lstm.proj_size or 8)
        _, (h, _) = self.lstm(self.front(x).relu(), (h0, torch.zeros(layers, x.size(0), 8)))
        return normalize(self.out(h[-1]), dim=-1)


class LastStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        return self.head(out[:, -1])


class TwoInARow(nn.Module):
    """Time comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.RNN(4, 8, 2, bias=False), nn.RNN(8, 6, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(torch.tanh(self.first(x)[0]))[0]
        return y


class Learned(nn.Module):
    """Begins from a parameter; gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Parameter(torch.randn(1, 1, 8))
        self.core, self.head = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, values: Tensor) -> dict[str, Tensor]:
        y, h = self.core(values, self.begin.expand(-1, values.shape[0], -1).contiguous())
        return {"scores": self.head(y), "summary": h[-1].tanh()}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(9, 4), nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, words: Tensor, loudness: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(torch.cat([self.embed(words), loudness], -1))[0])
        return y


class Packing(nn.Module):
    """Both directions, packed by itself, and a mean over the real steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 6, bidirectional=True, batch_first=True), nn.Linear(12, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(y.sum(1) / lengths[:, None])


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low, self.high, self.head = nn.LSTMCell(4, 8), nn.GRUCell(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, c, g = x.new_zeros(x.size(0), 8), x.new_zeros(x.size(0), 8), x.new_zeros(x.size(0), 6)
        results = []
        for t in range(x.size(1)):
            h, c = self.low(x[:, t], (h, c))
            g = self.high(h, g)
            results.append(self.head(g))
        return torch.stack(results, 1)


class Tagger(nn.Module):
    def __init__(self, norm_first: bool = False, batch_first: bool = True, causal: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, norm_first=norm_first, batch_first=batch_first)
        self.embed, self.place, self.out = nn.Linear(4, 8), nn.Embedding(512, 8), nn.Linear(8, 3)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.batch_first, self.causal = batch_first, causal

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.place(torch.arange(x.size(1)))
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(1)) if self.causal else None
        y = self.encoder(x if self.batch_first else x.transpose(0, 1), mask)
        return self.out(y if self.batch_first else y.transpose(0, 1))


class Attentive(nn.Module):
    """Attention over a recurrent layer's outputs, pooled over the real steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 8, batch_first=True)
        self.attend, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        y, _ = self.attend(y, y, y)
        return self.head(y)


class Decoder(nn.Module):
    """Attends to its own past, and to all of the sequence."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.embed, self.decoder = nn.Linear(4, 8), nn.TransformerDecoder(layer, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y: Tensor = self.decoder(x, x, tgt_mask=nn.Transformer.generate_square_subsequent_mask(x.size(1)))
        return y


class StackOfCells(nn.Module):
    """Cells that begin from nothing; one answer at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.ModuleList([nn.LSTMCell(4, 8), nn.LSTMCell(8, 8)]), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        states: list[Any] = [None, None]
        for y in x.unbind(1):
            for k, cell in enumerate(self.cells):
                states[k] = cell(y, states[k])
                y = states[k][0]  # noqa: PLW2901
        scores: Tensor = self.head(states[-1][0])
        return scores
