"""A character language model: what comes next, after every character."""

from __future__ import annotations

from torch import Tensor, nn

from headrace.spec import Chunk, Generation, Input, ModelSpec, Output, Text

from ..ragged import RaggedRNN, State
from .base import SequenceModel, carried

LONGEST = 1024


class CharacterModel(SequenceModel):
    """Token ids → embedding → GRU → logits of the next character (Mikolov et al. 2010, with a gated unit)."""

    def __init__(self, symbols: str, width: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.symbols = tuple(symbols)
        self.embed = nn.Embedding(len(symbols), width)
        self.core = RaggedRNN(nn.GRU(width, hidden, layers))
        self.head = nn.Linear(hidden, len(symbols))

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [tokens] ids → logits [tokens, symbols]."""
        y, state = self.core(self.embed(x), lengths, state)  # [tokens, hidden]
        return self.head(y), state

    def describe(self, name: str) -> ModelSpec:
        count, rnn = len(self.symbols), self.core.rnn
        return ModelSpec(
            name=name,
            task="predict the next character",
            inputs=(Input(name="tokens", dtype="int64", vocabulary=count),),
            outputs=(Output(name="logits", dtype="float32", shape=(count,), time=True, labels=self.symbols),),
            states=(carried("h", rnn.num_layers, rnn.hidden_size),),
            chunk=Chunk(longest=LONGEST),
            text=Text(symbols=self.symbols),
            generation=Generation(output="logits"),
        )
