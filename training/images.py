"""The task on handwritten digits: which one is it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headrace.spec import Score

from .classify import METRIC, SPLIT, answers, classification_loss
from .data import digits
from .data.digits import Digits
from .models import Config, SequenceModel
from .task import Batch, Task

#: Images in a batch of training, and of each digit in the selection slice.
ROWS, HELD_OUT = 64, 10

PUBLISHED = "SVC .989, 1-NN .983"
DATA = "digits 8x8, 360 test images of the stratified split"


class Images(Task):
    """Trains on all but a slice of `train`, selects by that slice, scores on `test`."""

    def __init__(self, name: str, config: Config, train: Digits, test: Digits) -> None:
        self.name, self.config = name, config
        self._train, self._selection = digits.held_out(train, HELD_OUT, np.random.default_rng(SPLIT))
        self._test = test

    def fit_inputs(self, model: SequenceModel) -> None:
        """Grey levels are taken as they are."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        for rows in torch.split(torch.randperm(len(self._train)), ROWS):
            yield self._strips(shifted(self._train.take(rows.numpy())))

    def loss(self, y: Any, batch: Batch) -> Tensor:
        return classification_loss(y, batch)

    @torch.inference_mode()
    def select(self, model: SequenceModel) -> float:
        held = self._strips(self._selection)
        return classification_loss(answers(model, held), held).item()

    @torch.inference_mode()
    def score(self, model: SequenceModel) -> Score:
        scored = self._strips(self._test)
        right = answers(model, scored).argmax(-1) == scored.targets  # [rows]
        return Score(metric=METRIC, value=right.float().mean().item(), published=PUBLISHED, better="higher", data=DATA)

    def _strips(self, images: Digits) -> Batch:
        """Each image [8, 8] as strips [4, 2, 8], for patches of two by two."""
        patch, side = self.config["patch"], self.config["side"]
        x = torch.from_numpy(images.images).float().view(-1, patch, side)  # [rows * strips, patch, side]
        return Batch(x, torch.full((len(images),), side // patch), torch.from_numpy(images.labels))


def shifted(images: Digits) -> Digits:
    """Each image moved by at most one pixel, up or down and to either side; what moves out is lost."""
    roomy = torch.nn.functional.pad(torch.from_numpy(images.images), (1, 1, 1, 1))  # [rows, 10, 10]
    top, left = torch.randint(3, (2, len(images), 1))  # [rows, 1] each
    side = torch.arange(digits.SIDE)  # [8]
    rows, columns = (top + side)[:, :, None], (left + side)[:, None]  # [rows, 8, 1], [rows, 1, 8]
    moved = roomy[torch.arange(len(images))[:, None, None], rows, columns]  # [rows, 8, 8]
    return Digits(moved.numpy(), images.labels)
