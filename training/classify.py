"""The tasks on JapaneseVowels: which speaker, from whole utterances or after every time step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from headrace.ragged import Ragged
from headrace.spec import Score

from .data import vowels
from .data.vowels import Utterances
from .models import Config, EncoderClassifier, RecurrentClassifier, SequenceModel
from .task import Batch, Task

#: Draws the selection slice, the same for every seed of a run: their losses on it are compared.
SPLIT = 0

#: Utterances in a batch of training, and of each speaker in the selection slice.
ROWS, HELD_OUT = 25, 5

METRIC = "accuracy"
PUBLISHED = "94 to 96 %"
DATA = "JapaneseVowels, 370 test utterances"


class Classify(Task):
    """Trains on all but a slice of `train`, selects by that slice, scores on `test`."""

    def __init__(self, name: str, config: Config, train: Utterances, test: Utterances) -> None:
        self.name, self.config = name, config
        self._train, self._selection = vowels.held_out(train, HELD_OUT, np.random.default_rng(SPLIT))
        self._test = test

    def fit_inputs(self, model: SequenceModel) -> None:
        assert isinstance(model, RecurrentClassifier | EncoderClassifier)
        model.standardise.fit(torch.from_numpy(np.concatenate(self._train.rows)))

    def batches(self, epoch: int) -> Iterator[Batch]:
        for rows in torch.split(torch.randperm(len(self._train)), ROWS):
            yield batch(self._train.take(rows.numpy()))

    def loss(self, y: Any, batch: Batch) -> Tensor:
        return classification_loss(answer(y), batch)

    @torch.inference_mode()
    def select(self, model: SequenceModel) -> float:
        held = batch(self._selection)
        return classification_loss(answers(model, held), held).item()

    @torch.inference_mode()
    def score(self, model: SequenceModel) -> Score:
        scored = batch(self._test)
        right = last(answers(model, scored), scored).argmax(-1) == scored.targets  # [rows]
        return Score(metric=METRIC, value=right.float().mean().item(), published=PUBLISHED, better="higher", data=DATA)


def batch(utterances: Utterances) -> Batch:
    """All `utterances` as one batch; targets [rows]."""
    ragged = Ragged.of(utterances.rows)
    x, lengths = torch.from_numpy(ragged.values), torch.from_numpy(ragged.lengths)
    return Batch(x, lengths, torch.from_numpy(utterances.labels))


def answers(model: SequenceModel, batch: Batch) -> Tensor:
    """The model's answer to whole sequences: [tokens, classes] or [rows, classes]."""
    y, _ = model(batch.x, batch.lengths, model.initial_state(len(batch.lengths)))
    return answer(y)


def answer(y: Any) -> Tensor:
    """The first output, where a model has several."""
    first: Tensor = y[0] if isinstance(y, tuple) else y
    return first


def last(y: Tensor, batch: Batch) -> Tensor:
    """[rows, classes]: each sequence's answer, the one at its last step where there is one at every step."""
    return y if len(y) == len(batch.lengths) else y[batch.lengths.cumsum(0) - 1]


def classification_loss(y: Tensor, batch: Batch) -> Tensor:
    return nll_loss(last(y, batch), batch.targets)
