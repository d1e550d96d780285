"""The task on CMUdict: from a word's letters to its phones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from headrace.spec import Score

from .data.cmudict import LETTERS, PHONES, Dictionary, Words
from .models import Config, SequenceModel
from .models.translator import StartedModel
from .ragged import State
from .task import Batch, Task

#: What begins and ends every pronunciation, and all symbols by their ids.
END = "."
SYMBOLS = (END, *PHONES)

#: Words in a batch of training, in one call when words are pronounced, and batches in an epoch.
ROWS, MEASURED, BATCHES = 128, 512, 200

METRIC, PHONE_METRIC = "word error", "phone error"
PUBLISHED, PHONE_PUBLISHED = "0.21 to 0.26 on other splits", "0.05 to 0.06 on other splits"
DATA = "CMUdict, 11,749 held-out words, stress left out, best of several references, greedy"


@dataclass(frozen=True, slots=True)
class Pairs(Batch):
    """A batch with its sources: source [tokens'] ids of letters, source_lengths [rows]."""

    source: Tensor
    source_lengths: Tensor


@dataclass(frozen=True, slots=True)
class Errors:
    """Shares of words that are no reference's, and edits a phone to the nearest reference (Levenshtein 1966)."""

    words: float
    phones: float


class Pronounce(Task):
    """Trains on every pronunciation of the words, selects by the usual ones, scores by the best of all."""

    def __init__(self, name: str, config: Config, words: Dictionary) -> None:
        self.name, self.config = name, config
        self._words = words
        self._train = [
            (w, spoken) for w, s in zip(words.train.spellings, words.train.spoken, strict=True) for spoken in s
        ]
        sizes = [(len(spoken), len(word)) for word, spoken in self._train]
        self._sizes = torch.tensor(sizes) @ torch.tensor([100, 1])  # [pairs] one number that sorts by both

    def fit_inputs(self, model: SequenceModel) -> None:
        """Letters are taken as they are."""

    def start(self, model: SequenceModel, batch: Batch) -> State:
        assert isinstance(model, StartedModel) and isinstance(batch, Pairs)
        return model.start(batch.source, batch.source_lengths)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Words of like length together, drawn anew each time: hardly anything is padded."""
        order = torch.randperm(len(self._train))
        alike = order[torch.sort(self._sizes[order], stable=True).indices]
        every = torch.split(alike, ROWS)
        for k in torch.randperm(len(every))[:BATCHES]:
            yield pairs([self._train[i] for i in every[int(k)].tolist()])

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(y, batch.targets)

    @torch.inference_mode()
    def select(self, model: SequenceModel) -> float:
        """In nats per phone."""
        held = self._words.selection
        batch = pairs([(w, s[0]) for w, s in zip(held.spellings, held.spoken, strict=True)])
        y, _ = model(batch.x, batch.lengths, self.start(model, batch))
        return cross_entropy(y, batch.targets).item()

    def score(self, model: SequenceModel) -> Score:
        """Words that are pronounced as none of their references."""
        return self._score(METRIC, self._errors(model).words, PUBLISHED)

    def also(self, model: SequenceModel) -> Sequence[Score]:
        return (self._score(PHONE_METRIC, self._errors(model).phones, PHONE_PUBLISHED),)

    def _score(self, metric: str, value: float, published: str) -> Score:
        return Score(metric=metric, value=value, published=published, better="lower", data=DATA)

    def _errors(self, model: SequenceModel) -> Errors:
        assert isinstance(model, StartedModel)
        return errors(pronounced(model, self._words.scored.spellings), self._words.scored)


def pairs(spoken: Sequence[tuple[str, Sequence[str]]]) -> Pairs:
    """Words and one pronunciation each as a batch: END before the phones goes in, END behind them is to come out."""
    source, source_lengths = letters([word for word, _ in spoken])
    ids = [[SYMBOLS.index(p) for p in phones] for _, phones in spoken]
    x, targets = ([0, *row] for row in ids), ([*row, 0] for row in ids)
    lengths = torch.tensor([len(row) + 1 for row in ids])
    return Pairs(_flat(x), lengths, _flat(targets), source, source_lengths)


def letters(words: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Words → ids of their letters [tokens], lengths [rows]."""
    return _flat([LETTERS.index(c) for c in word] for word in words), torch.tensor([len(word) for word in words])


@torch.inference_mode()
def pronounced(model: StartedModel, words: Sequence[str]) -> list[tuple[str, ...]]:
    """The likeliest phone at every step, up to END."""
    found: list[tuple[str, ...]] = []
    for first in range(0, len(words), MEASURED):
        found += _greedy(model, words[first : first + MEASURED])
    return found


def _greedy(model: StartedModel, words: Sequence[str]) -> list[tuple[str, ...]]:
    longest, rows = model.describe("any").longest, len(words)
    assert longest is not None
    state, phones, ones = model.start(*letters(words)), torch.zeros(rows, 1, dtype=torch.int64), torch.ones(rows).long()
    while phones.shape[1] <= longest and not (phones[:, 1:] == 0).any(1).all():
        y, state = model(phones[:, -1], ones, state)  # [rows, symbols]
        phones = torch.cat([phones, y.argmax(-1, keepdim=True)], 1)
    return [_until_end(row) for row in phones[:, 1:].tolist()]


def _until_end(ids: Sequence[int]) -> tuple[str, ...]:
    stop = ids.index(0) if 0 in ids else len(ids)
    return tuple(SYMBOLS[k] for k in ids[:stop])


def errors(found: Sequence[tuple[str, ...]], words: Words) -> Errors:
    """Each pronunciation found against the nearest of its references."""
    wrong = edits = phones = 0
    for spoken, references in zip(found, words.spoken, strict=True):
        distance, length = min((edit_distance(spoken, r), len(r)) for r in references)
        wrong, edits, phones = wrong + (distance > 0), edits + distance, phones + length
    return Errors(wrong / len(words), edits / phones)


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements that make `a` into `b`."""
    row = list(range(len(b) + 1))  # of a's symbols so far to each beginning of b
    for symbol in a:
        above, row = row, [row[0] + 1]
        for k, other in enumerate(b):
            row.append(min(above[k] + (symbol != other), above[k + 1] + 1, row[k] + 1))
    return row[-1]


def _flat(rows: Iterator[list[int]]) -> Tensor:
    return torch.tensor([k for row in rows for k in row])
