"""The task of drawing a digit as its caption says (after Ramesh et al. 2021, whose pictures are tokens too)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from headrace.errors import ConfigurationError
from headrace.spec import Score

from .data import captions, digits
from .data.digits import LABELS, Digits
from .models import Config, SequenceModel
from .task import Batch, Task

#: Draws the selection slice, the same for every run; images of each digit in it.
SPLIT, HELD_OUT = 0, 10

#: Images in a batch of training, and passes over them in an epoch.
ROWS, PASSES = 32, 2

#: How far the likeliest greys are preferred: logits are divided by it. Below 1, pictures are plainer and vary less. It
#: was chosen from .5, .7 and 1 by the judge's own word: so the figure at 1, which nobody chose, stands beside it.
TEMPERATURE, UNCHOSEN = 0.7, 1.0

#: Pictures that are judged, as many of each digit.
JUDGED = 500

IGNORED = -100
"""Targets where nothing is to be learnt: whoever asks writes the caption."""

METRIC = "pictures read as what the caption says"
DATA = f"{JUDGED} drawn digits, read by a support vector classifier fitted to the real ones' training part"


class Drawing(Task):
    """Trains on captions and images of `train` but for a slice, selects by that, and has pictures read to score."""

    def __init__(self, name: str, config: Config, train: Digits) -> None:
        self.name, self.config = name, config
        self._every = train
        self._train, self._selection = digits.held_out(train, HELD_OUT, np.random.default_rng(SPLIT))

    def fit_inputs(self, model: SequenceModel) -> None:
        """Letters are taken as they are."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Every image in a wording drawn anew."""
        for _ in range(PASSES):
            for rows in torch.split(torch.randperm(len(self._train)), ROWS):
                chosen = self._train.take(rows.numpy())
                every = [captions.captions(digit) for digit in chosen.labels.tolist()]
                told = [e[int(k)] for e, k in zip(every, torch.randint(len(every[0]), (len(every),)), strict=True)]
                yield batch(told, chosen.images)

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(y, batch.targets, ignore_index=IGNORED)

    @torch.inference_mode()
    def select(self, model: SequenceModel) -> float:
        """In nats per pixel."""
        told = [captions.captions(digit)[0] for digit in self._selection.labels.tolist()]
        held = batch(told, self._selection.images)
        y, _ = model(held.x, held.lengths, model.initial_state(len(held.lengths)))
        return self.loss(y, held).item()

    def score(self, model: SequenceModel) -> Score:
        """The share of pictures, in all wordings, that the judge reads as their digit."""
        return self._read(model, METRIC, TEMPERATURE)

    def also(self, model: SequenceModel) -> tuple[Score, ...]:
        return (self._read(model, f"{METRIC}, at temperature 1", UNCHOSEN),)

    def _read(self, model: SequenceModel, metric: str, temperature: float) -> Score:
        asked = np.arange(JUDGED) % len(LABELS)
        every = [captions.captions(int(digit)) for digit in asked]
        told = [e[k // len(LABELS) % len(e)] for k, e in enumerate(every)]
        right = judged(self._every, draw(model, told, torch.Generator().manual_seed(0), temperature)) == asked
        published = "none; the judge reads 0.989 of real test images right"
        return Score(metric=metric, value=float(right.mean()), published=published, better="higher", data=DATA)


def batch(told: Sequence[str], images: NDArray[np.int64]) -> Batch:
    """Captions and their images [rows, 8, 8] as a batch in which only pixels are to be learnt."""
    rows = [_ids(f"{t}{captions.END}{captions.written(i)}") for t, i in zip(told, images, strict=True)]
    x, targets = torch.cat([row[:-1] for row in rows]), [row[1:].clone() for row in rows]
    for target in targets:
        target[: -captions.PIXELS] = IGNORED
    return Batch(x, torch.tensor([len(row) - 1 for row in rows]), torch.cat(targets))


@torch.inference_mode()
def draw(
    model: SequenceModel, told: Sequence[str], generator: torch.Generator, temperature: float = TEMPERATURE
) -> NDArray[np.int64]:
    """A picture for each caption, pixel after pixel: [rows, 8, 8] int64."""
    prompts = [_ids(t + captions.END) for t in told]
    lengths = torch.tensor([len(p) for p in prompts])
    y, state = model(torch.cat(prompts), lengths, model.initial_state(len(told)))
    y = y[lengths.cumsum(0) - 1]  # [rows, symbols]
    pixels = [_drawn(y, generator, temperature)]
    while len(pixels) < captions.PIXELS:
        y, state = model(pixels[-1], torch.ones_like(lengths), state)
        pixels.append(_drawn(y, generator, temperature))
    return torch.stack(pixels, 1).numpy().reshape(-1, digits.SIDE, digits.SIDE) - captions.FIRST


def judged(real: Digits, pictures: NDArray[np.int64]) -> NDArray[np.int64]:
    """The digits, [rows], that a support vector classifier (Cortes and Vapnik 1995) reads in pictures [rows, 8, 8].

    Raises ConfigurationError where scikit-learn is not installed.
    """
    try:
        from sklearn.svm import SVC
    except ImportError as error:
        raise ConfigurationError("pictures are judged by scikit-learn: install headrace[train]") from error
    judge = SVC(gamma=0.001).fit(real.images.reshape(len(real), -1), real.labels)
    read: NDArray[np.int64] = judge.predict(pictures.reshape(len(pictures), -1))
    return read


def _drawn(y: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """Logits [rows, symbols] → one grey each [rows]; a picture has no other letters."""
    greys = y[:, captions.FIRST : captions.FIRST + digits.LEVELS] / temperature
    return torch.multinomial(greys.softmax(-1), 1, generator=generator)[:, 0] + captions.FIRST


def _ids(text: str) -> Tensor:
    return torch.tensor(captions.ids(text))
