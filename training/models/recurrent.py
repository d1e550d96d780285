"""Recurrent classifiers: of everything seen so far at every time step, or of whole sequences from both ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from headrace.spec import Chunk, Input, ModelSpec, Output
from headrace.spec import State as Described

from ..ragged import RaggedRNN, Recurrent, State
from .base import SequenceModel
from .parts import Standardise

LONGEST = 512

KINDS: dict[str, type[Recurrent]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN, "relu": nn.RNN}


class RecurrentClassifier(SequenceModel):
    """Raw values → recurrent layers → log-probabilities of the classes.

    kind: "gru" (Cho et al. 2014), "lstm" (Hochreiter and Schmidhuber 1997), "rnn" (tanh; Elman 1990) or "relu", an RNN
        of rectified units (Le et al. 2015)
    dropout: between the layers and before the head
    projection: of an LSTM's output, and h, to so many values (Sak et al. 2014)
    bidirectional: reads from both ends (Schuster and Paliwal 1997). Such a model needs the end of a sequence before it
        can say anything: it takes whole sequences, has no state, and gives one answer for each, from the two states
        that have read everything. In one direction there is an answer at every time step, causal; that of the last
        step is the answer for the sequence.
    learned: whether a fresh sequence begins with a learned state instead of zeros
    """

    def __init__(
        self,
        kind: str,
        features: int,
        hidden: int,
        layers: int,
        labels: list[str],
        dropout: float = 0.0,
        projection: int = 0,
        bidirectional: bool = False,
        learned: bool = False,
    ) -> None:
        super().__init__()
        if bidirectional and learned:
            raise ValueError("a bidirectional classifier begins with zeros at both ends")
        self.labels = tuple(labels)
        self.features, self.bidirectional = features, bidirectional
        self.standardise = Standardise(features)
        self.core = RaggedRNN(recurrent(kind, features, hidden, layers, dropout, projection, bidirectional))
        shapes = self.core.shapes if learned else {}
        self.begin = nn.ParameterDict({name: nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()})
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.core.width, len(labels))

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [tokens, features] in raw units → log-probabilities [tokens, classes], of whole sequences [rows, classes].

        h[t] = tanh(W x[t] + U h[t-1] + b), or the gated forms of it that torch documents for `nn.LSTM` and `nn.GRU`.
        """
        y, end = self.core(self.standardise(x), lengths, state)  # [tokens, width]
        if self.bidirectional:
            y, end = end["h"][:, -2:].flatten(1), {}  # the last layer's two directions, [rows, width]
        return self.head(self.dropout(y)).log_softmax(-1), end

    def initial_state(self, rows: int) -> State:
        """As the spec says; where it is learned, with its gradient."""
        if not self.begin:
            return super().initial_state(rows)
        return {name: cells.expand(rows, *cells.shape) for name, cells in self.begin.items()}

    def describe(self, name: str) -> ModelSpec:
        whole, classes = self.bidirectional, (len(self.labels),)
        output = Output(name="log_probabilities", dtype="float32", shape=classes, time=not whole, labels=self.labels)
        return ModelSpec(
            name=name,
            task=f"classify sequences, {'one answer for each' if whole else 'an answer at every time step'}",
            inputs=(Input(name="values", dtype="float32", shape=(self.features,)),),
            outputs=(output,),
            states=() if whole else tuple(map(self._described, self.core.names)),
            chunk=Chunk(longest=LONGEST, whole=whole),
        )

    def _described(self, name: str) -> Described:
        initial = tuple(self.begin[name].flatten().tolist()) if name in self.begin else 0.0
        shape = self.core.shapes[name]
        return Described(name=name, input=name, output=f"{name}_out", dtype="float32", shape=shape, initial=initial)


def recurrent(
    kind: str,
    features: int,
    hidden: int,
    layers: int,
    dropout: float = 0.0,
    projection: int = 0,
    bidirectional: bool = False,
) -> Recurrent:
    """The stock module of `kind`, time-major. Raises ValueError for a projection of what is no LSTM."""
    options: dict[str, Any] = {"nonlinearity": "relu"} if kind == "relu" else {}
    options |= {"proj_size": projection} if projection else {}  # others than the LSTM refuse the very word
    between = dropout if layers > 1 else 0.0  # torch warns of one that has nothing to be between
    return KINDS[kind](features, hidden, layers, dropout=between, bidirectional=bidirectional, **options)
