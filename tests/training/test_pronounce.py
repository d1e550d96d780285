"""Words and their phones: batches, the greedy loop, and what counts as an error."""

from __future__ import annotations

import math

import pytest
import torch

from headrace.training.data.cmudict import LETTERS, PHONES, Dictionary, Words
from headrace.training.models import Config, Translator, build
from headrace.training.pronounce import SYMBOLS, Errors, Pairs, Pronounce, edit_distance, errors, pairs, pronounced

CONFIG: Config = {
    "architecture": "translator",
    "source": LETTERS,
    "symbols": list(SYMBOLS),
    **{"width": 16, "heads": 2, "encoder": 1, "decoder": 1, "longest": 12},
}
READ = Words(("read", "a"), ((("R", "EH", "D"), ("R", "IY", "D")), (("AH",), ("EY",))))


def task() -> Pronounce:
    return Pronounce("read", CONFIG, Dictionary(READ, READ, READ))


def model() -> Translator:
    torch.manual_seed(0)
    made = build(CONFIG).eval()
    assert isinstance(made, Translator)
    return made


def test_a_pair_begins_and_ends_with_the_end() -> None:
    batch = pairs([("ab", ("AA", "B")), ("c", ("K",))])
    assert batch.x.tolist() == [0, 1, 7, 0, 20] and batch.targets.tolist() == [1, 7, 0, 20, 0]
    assert batch.lengths.tolist() == [3, 2]
    assert (batch.source.tolist(), batch.source_lengths.tolist()) == ([0, 1, 2], [2, 1])


def test_every_pronunciation_is_trained() -> None:
    torch.manual_seed(0)
    (batch,) = task().batches(0)
    assert isinstance(batch, Pairs) and len(batch.lengths) == 4
    rows = torch.split(batch.targets, batch.lengths.tolist())
    spoken = {tuple(SYMBOLS[k] for k in row[:-1].tolist()) for row in rows}
    assert spoken == {("R", "EH", "D"), ("R", "IY", "D"), ("AH",), ("EY",)}


def test_a_few_words_are_learnt_and_pronounced() -> None:
    """The whole way: start, loss, gradient through the source, greedy loop, score."""
    torch.manual_seed(0)
    words = Words(("tab", "bat", "a"), ((("T", "AE", "B"),), (("B", "AE", "T"),), (("AH",),)))
    learnt, made = Pronounce("few", CONFIG, Dictionary(words, words, words)), model()
    optimiser = torch.optim.AdamW(made.parameters(), 1e-2)
    for epoch in range(60):
        for batch in learnt.batches(epoch):
            y, _ = made(batch.x, batch.lengths, learnt.start(made, batch))
            optimiser.zero_grad()
            torch.autograd.backward(learnt.loss(y, batch))
            optimiser.step()
    assert pronounced(made.eval(), words.spellings) == [spoken[0] for spoken in words.spoken]
    (phones,) = learnt.also(made)
    assert learnt.score(made).value == 0 and (phones.metric, phones.value) == ("phone error", 0)


def test_a_pronunciation_that_never_ends_is_cut() -> None:
    made = model()
    made.head.bias.data[0] = -100.0
    assert [len(phones) for phones in pronounced(made, ["a", "tab"])] == [12, 12]


def test_a_model_that_knows_nothing_takes_all_symbols_for_alike() -> None:
    blank = model()
    for weight in blank.parameters():
        weight.data.zero_()
    assert task().select(blank) == pytest.approx(math.log(len(PHONES) + 1), rel=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "edits"), [("", "", 0), ("abc", "abc", 0), ("abc", "ac", 1), ("ac", "abc", 1), ("kitten", "sitting", 3)]
)
def test_edit_distance(a: str, b: str, edits: int) -> None:
    assert edit_distance(a, b) == edits


def test_the_nearest_reference_counts() -> None:
    assert errors([("R", "IY", "D"), ("EY",)], READ) == Errors(0, 0)
    assert errors([("R", "IY", "T"), ("AH", "AH")], READ) == Errors(1, 2 / 4)
