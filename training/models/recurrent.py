"""A recurrent classifier that names the class anew at every time step, from what it has seen so far."""

from __future__ import annotations

from torch import Tensor, nn

from headrace.spec import Chunk, Input, ModelSpec, Output

from ..ragged import RaggedRNN, Recurrent, State
from .base import SequenceModel, carried
from .parts import Standardise

LONGEST = 512


class RecurrentClassifier(SequenceModel):
    """Raw values → recurrent layers → log-probabilities of the classes at every time step.

    `kind`: "gru" (Cho et al. 2014), "lstm" (Hochreiter and Schmidhuber 1997) or "rnn" (tanh; Elman 1990).
    The output is causal: that of a sequence's last step is the answer for the sequence.
    """

    def __init__(
        self, kind: str, features: int, hidden: int, layers: int, labels: list[str], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.features = features
        self.standardise = Standardise(features)
        self.core = RaggedRNN(recurrent(kind, features, hidden, layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, len(labels))

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [tokens, features] in raw units → log-probabilities [tokens, classes]."""
        y, state = self.core(self.standardise(x), lengths, state)  # [tokens, hidden]
        return self.head(self.dropout(y)).log_softmax(-1), state

    def describe(self, name: str) -> ModelSpec:
        rnn = self.core.rnn
        return ModelSpec(
            name=name,
            task="classify sequences, an answer at every time step",
            inputs=(Input(name="values", dtype="float32", shape=(self.features,)),),
            outputs=(
                Output(
                    name="log_probabilities",
                    dtype="float32",
                    shape=(len(self.labels),),
                    time=True,
                    labels=self.labels,
                ),
            ),
            states=tuple(carried(state, rnn.num_layers, rnn.hidden_size) for state in self.core.names),
            chunk=Chunk(longest=LONGEST),
        )


def recurrent(kind: str, features: int, hidden: int, layers: int) -> Recurrent:
    """The stock module of `kind`, time-major."""
    kinds: dict[str, type[Recurrent]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
    return kinds[kind](features, hidden, layers)
