"""The number of ids is that of the embedding which takes the input itself, not of one that takes equal values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.contract import read_model
from headrace.errors import ConfigurationError
from headrace.export import export_module
from headrace.export.user.vocabulary import looked_up

ZEROS, SOME = torch.zeros(3, 7, dtype=torch.int64), torch.arange(21).reshape(3, 7)


class TwoInts(nn.Module):
    """The second input is looked up first."""

    def __init__(self) -> None:
        super().__init__()
        self.tag, self.word = nn.Embedding(10, 4), nn.Embedding(1000, 4)
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, words: Tensor, tags: Tensor) -> Tensor:
        tag = self.tag(tags)
        y: Tensor = self.rnn(torch.cat([self.word(words), tag], -1))[0]
        return y


def test_each_input_has_the_vocabulary_of_its_own_embedding(tmp_path: Path, console: Console) -> None:
    path = export_module(TwoInts(), (ZEROS, ZEROS), tmp_path, "two", quick=True, console=console)
    assert [(i.name, i.vocabulary) for i in read_model(path)[1].inputs] == [("words", 1000), ("tags", 10)]


def test_views_are_followed_and_the_smallest_embedding_bounds() -> None:
    seen = [(nn.Embedding(30, 2), ZEROS.T), (nn.Embedding(20, 2), ZEROS[:, :3]), (nn.Embedding(5, 2), ZEROS.clone())]
    assert looked_up(ZEROS, [ZEROS], seen) == 20


def test_copies_are_told_by_their_values_if_these_are_no_others() -> None:
    seen = [(nn.Embedding(30, 2), SOME.T.clone()), (nn.Embedding(5, 2), SOME % 2)]
    assert looked_up(SOME, [SOME, ZEROS], seen) == 30
    assert looked_up(SOME, [SOME, SOME.flip(0)], seen) is None
    assert looked_up(ZEROS, [ZEROS], [(nn.Embedding(2, 2), torch.zeros_like(ZEROS))]) is None


def test_vocabularies_are_of_inputs_that_there_are(tmp_path: Path, console: Console) -> None:
    with pytest.raises(ConfigurationError, match="vocabulary names tokens; the inputs are words, tags"):
        export_module(TwoInts(), (ZEROS, ZEROS), tmp_path, "two", vocabulary={"tokens": 9}, console=console)


def test_a_vocabulary_too_large_for_the_module_is_told_with_the_line(tmp_path: Path, console: Console) -> None:
    with pytest.raises(
        ConfigurationError, match=r"two cannot be run \(IndexError\).*test_vocabulary.py:\d+: .*self.word"
    ):
        export_module(TwoInts(), (ZEROS, ZEROS), tmp_path, "two", vocabulary={"words": 9999}, console=console)
