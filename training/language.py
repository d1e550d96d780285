"""The character language model's task: the King James text, in streams that carry their state on."""

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
from .models import Config, SequenceModel
from .ragged import State
from .task import Batch, Task

#: Streams that are read side by side in training, characters in a chunk, and epochs that make one pass of the text.
STREAMS, CHUNK, EPOCHS_A_PASS = 64, 32, 8

#: Characters in one call when a text is measured.
STRIDE = 4096

#: Streams that the scored part is cut into, and characters that each reads ahead of its own.
MEASURED, WARM = 16, 1024

METRIC = "bits per character"
PUBLISHED = "PPMd-4 1.755, bigram 3.35"
DATA = "King James Bible, last 10 %, every character, state carried on"


class Language(Task):
    """Trains on the first part of the corpus, selects by the slice behind it, scores on the last part."""

    carried = True

    def __init__(self, name: str, config: Config, corpus: Corpus) -> None:
        self.name, self.config = name, config
        self._corpus = corpus

    def fit_inputs(self, model: SequenceModel) -> None:
        """Characters are taken as they are."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Each stream reads its own part of the text; an epoch is the next eighth of every stream."""
        streams = side_by_side(self._corpus.train, STREAMS)  # [streams, characters]
        share = max(1, (streams.shape[1] - 1) // EPOCHS_A_PASS // CHUNK) * CHUNK
        first = epoch % EPOCHS_A_PASS * share
        for start in range(first, first + share, CHUNK):
            yield next_characters(streams[:, start : start + CHUNK + 1])

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(y, batch.targets)

    def select(self, model: SequenceModel) -> float:
        """In nats per character, over streams side by side: a comparison of epochs needs no exact figure."""
        return surprise(model, side_by_side(self._corpus.selection, STREAMS))

    def score(self, model: SequenceModel) -> Score:
        """Bits per character over every character of the scored part, each predicted from all before it."""
        before = self._corpus.selection[-WARM - 1 :]
        nats = surprise_behind(model, np.concatenate([before, self._corpus.scored]), len(before))
        value = nats / len(self._corpus.scored) / math.log(2)
        return Score(metric=METRIC, value=value, published=PUBLISHED, better="lower", data=DATA)


def side_by_side(ids: NDArray[np.int64], streams: int) -> NDArray[np.int64]:
    """ids [characters] → [streams, characters / streams], consecutive parts as rows; a rest at the end falls away."""
    width = len(ids) // streams
    return ids[: width * streams].reshape(streams, width)


def next_characters(window: NDArray[np.int64]) -> Batch:
    """window [streams, time + 1] → a batch of `time` steps a row, each to be followed by the next character."""
    rows, time = window.shape[0], window.shape[1] - 1
    x, targets = (torch.from_numpy(w.reshape(-1)) for w in (window[:, :-1], window[:, 1:]))  # [rows * time]
    return Batch(x, torch.full((rows,), time), targets)


@torch.inference_mode()
def read(model: SequenceModel, ids: NDArray[np.int64], state: State) -> tuple[float, State]:
    """Sum of the surprise, in nats, at every character but the first of each row of ids [streams, characters].

    `state` is that before the first character; the one returned is that after the last but one.
    """
    total = 0.0
    for start in range(0, ids.shape[1] - 1, STRIDE):
        batch = next_characters(ids[:, start : start + STRIDE + 1])
        y, state = model(batch.x, batch.lengths, state)  # [tokens, symbols]
        total += cross_entropy(y, batch.targets, reduction="sum").item()
    return total, state


def surprise(model: SequenceModel, ids: NDArray[np.int64]) -> float:
    """Nats per predicted character of ids [streams, characters], each row a fresh sequence."""
    total, _ = read(model, ids, model.initial_state(len(ids)))
    return total / (ids.size - len(ids))


def surprise_behind(model: SequenceModel, text: NDArray[np.int64], first: int, streams: int = MEASURED) -> float:
    """Sum of the surprise, in nats, at every character of text [characters] from index `first`, state carried on.

    One stream is slow: its steps cannot run side by side. So the text is cut into streams, each entered with the state
    that the characters before it leave. Where one stream ends in the very state that the next was entered with, the
    sum is that of a single stream; where a model remembers too long for that, a single one is read after all.
    """
    warm, width = first - 1, (len(text) - first) // streams
    windows = np.stack([text[start : start + first + width] for start in range(0, streams * width, width)])
    _, entered = read(model, windows[:, : warm + 1], model.initial_state(streams))
    total, left = read(model, windows[:, warm:], entered)
    if streams > 1 and not meet(left, entered):
        return surprise_behind(model, text, first, streams=1)
    rest, _ = read(model, text[None, first + streams * width - 1 :], {name: s[-1:] for name, s in left.items()})
    return total + rest


def meet(left: State, entered: State) -> bool:
    """Whether each row of `left` is, up to rounding, what the row after it was entered with."""
    return all(torch.allclose(left[name][:-1], entered[name][1:], rtol=0.0, atol=1e-4) for name in left)
