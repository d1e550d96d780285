"""Small tasks for the tests of the loop: real ones on little data, and one that follows a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from headrace.spec import Score
from headrace.training.classify import Classify
from headrace.training.data.kjv import Corpus
from headrace.training.data.vowels import Utterances
from headrace.training.language import Language
from headrace.training.models import Config, SequenceModel
from headrace.training.task import Batch, Task

SYMBOLS = "abcd"

GRU: Config = {
    "architecture": "recurrent-classifier",
    "kind": "gru",
    "features": 2,
    "hidden": 6,
    "layers": 1,
    "labels": ["up", "down"],
    "dropout": 0.3,  # so that a run draws from the generator at every batch
}
CHARACTERS: Config = {"architecture": "character-model", "symbols": SYMBOLS, "width": 4, "hidden": 6}


def ramps(count: int, seed: int) -> Utterances:
    """Noisy ramps of 3 to 8 steps: half of them rise, half fall."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    rows = [np.cumsum(rng.normal(1 - 2 * c, 1.0, (rng.integers(3, 9), 2)), 0).astype(np.float32) for c in labels]
    return Utterances(rows, labels)


def classify(test: Utterances | None = None, config: Config = GRU) -> Classify:
    return Classify("ramps", config, ramps(60, 1), test or ramps(40, 2))


def letters(count: int, seed: int) -> Corpus:
    """Letters of which each is mostly the one before plus one."""
    rng = np.random.default_rng(seed)
    ids = np.cumsum(rng.choice([1, 2], count, p=[0.8, 0.2])) % len(SYMBOLS)
    train, selection, scored = np.split(ids.astype(np.int64), [count // 2, count * 3 // 4])
    return Corpus(SYMBOLS, train, selection, scored)


def language(corpus: Corpus) -> Language:
    return Language("letters", CHARACTERS, corpus)


class Scripted(Task):
    """Gives fixed batches, takes its selection losses from a list, and keeps every output that its model gave."""

    def __init__(self, batches: Sequence[Batch], losses: Sequence[float], *, carried: bool = False) -> None:
        self.name, self.config, self.carried = "scripted", CHARACTERS, carried
        self._batches, self._losses = batches, iter(losses)
        self.outputs: list[Tensor] = []
        self.selected: list[Tensor] = []

    def fit_inputs(self, model: SequenceModel) -> None:
        pass

    def batches(self, epoch: int) -> Iterator[Batch]:
        return iter(self._batches)

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        self.outputs.append(y.detach())
        return torch.nn.functional.cross_entropy(y, batch.targets)

    def select(self, model: SequenceModel) -> float:
        self.selected.append(next(model.parameters()).detach().clone())
        return next(self._losses)

    def score(self, model: SequenceModel) -> Score:
        raise AssertionError("the loop scores nothing")
