"""A decoder's task on the King James text: windows from anywhere in it, each a sequence of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from headrace.spec import Score

from .data.kjv import Corpus
from .language import METRIC, PUBLISHED, next_characters
from .models import Config, SequenceModel
from .task import Batch, Task

#: Windows in a batch of training, and in one call when a text is measured; batches in an epoch.
ROWS, MEASURED, BATCHES = 8, 64, 100


class Windows(Task):
    """Trains on random windows of `width` characters, selects by the slice behind, scores the last part.

    Measured, a window is moved on by half of itself, and only its later half counts: every character is predicted once,
    from at least width / 2 and at most `width` characters before it.
    """

    def __init__(self, name: str, config: Config, corpus: Corpus, width: int) -> None:
        self.name, self.config, self.width = name, config, width
        self._corpus = corpus

    def fit_inputs(self, model: SequenceModel) -> None:
        """Characters are taken as they are."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        text = self._corpus.train
        for _ in range(BATCHES):
            starts = torch.randint(len(text) - self.width, (ROWS,)).numpy()
            yield next_characters(windows(text, starts, self.width + 1))

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(y, batch.targets)

    def select(self, model: SequenceModel) -> float:
        """In nats per character; every fourth window is enough to compare epochs."""
        text = self._corpus.selection
        return surprise(model, text, np.arange(0, len(text) - self.width, 2 * self.width), self.width)

    def score(self, model: SequenceModel) -> Score:
        """Bits per character over every character of the scored part."""
        half = self.width // 2
        before, scored = self._corpus.selection[-half - 1 :], self._corpus.scored
        last = -len(scored) % half  # characters of the last window that are not there
        text = np.concatenate([before, scored, scored[:last]])
        nats = surprise(model, text, np.arange(0, len(text) - self.width, half), self.width, last)
        data = f"King James Bible, last 10 %, every character, from {half} to {self.width} characters before it"
        return Score(metric=METRIC, value=nats / math.log(2), published=PUBLISHED, better="lower", data=data)


def windows(text: NDArray[np.int64], starts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """[characters], [rows] → [rows, width]."""
    rows: NDArray[np.int64] = text[starts[:, None] + np.arange(width)]
    return rows


@torch.inference_mode()
def surprise(
    model: SequenceModel, text: NDArray[np.int64], starts: NDArray[np.int64], width: int, idle: int = 0
) -> float:
    """Nats per character over the later halves of the windows from `starts`, less the last `idle` characters."""
    found = []
    for rows in np.split(starts, range(MEASURED, len(starts), MEASURED)):
        batch = next_characters(windows(text, rows, width + 1))
        y, _ = model(batch.x, batch.lengths, model.initial_state(len(rows)))  # [tokens, symbols]
        nats = cross_entropy(y, batch.targets, reduction="none").view(len(rows), width)
        found.append(nats[:, width // 2 :].flatten())
    every = torch.cat(found)
    return every[: len(every) - idle].mean().item()
