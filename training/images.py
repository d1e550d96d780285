"""The task on handwritten digits: which one is it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from headrace.spec import Score

from .classify import METRIC, SPLIT, answers, classification_loss
from .data import digits
from .data.digits import Digits
from .models import Config, SequenceModel
from .task import Batch, Task

#: Images in a batch of training, and of each digit in the selection slice.
ROWS, HELD_OUT = 32, 10

#: In training images are turned by at most so many radians, sized by such a share, and moved by such a share of half
#: their side: 12 degrees, a tenth, and a bit more than half a pixel.
TURN, SIZE, MOVE = math.radians(12), 0.1, 0.15

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
            chosen = self._train.take(rows.numpy())
            yield self._strips(swayed(torch.from_numpy(chosen.images).float()), chosen)

    def loss(self, y: Any, batch: Batch) -> Tensor:
        return classification_loss(y, batch)

    @torch.inference_mode()
    def select(self, model: SequenceModel) -> float:
        held = self._given(self._selection)
        return classification_loss(answers(model, held), held).item()

    @torch.inference_mode()
    def score(self, model: SequenceModel) -> Score:
        scored = self._given(self._test)
        right = answers(model, scored).argmax(-1) == scored.targets  # [rows]
        return Score(metric=METRIC, value=right.float().mean().item(), published=PUBLISHED, better="higher", data=DATA)

    def _given(self, chosen: Digits) -> Batch:
        """As they are."""
        return self._strips(torch.from_numpy(chosen.images).float(), chosen)

    def _strips(self, images: Tensor, chosen: Digits) -> Batch:
        """Each image [8, 8] as strips [4, 2, 8], for patches of two by two; images [rows, 8, 8]."""
        patch, side = self.config["patch"], self.config["side"]
        x = images.view(-1, patch, side)  # [rows * strips, patch, side]
        return Batch(x, torch.full((len(images),), side // patch), torch.from_numpy(chosen.labels))


def swayed(images: Tensor) -> Tensor:
    """Each image [rows, 8, 8] turned, sized and moved a little, as another hand might have written it."""
    turn, size, right, down = (torch.rand(4, len(images)) * 2 - 1) * torch.tensor([[TURN], [SIZE], [MOVE], [MOVE]])
    cosine, sine = turn.cos() / (1 + size), turn.sin() / (1 + size)  # [rows]
    maps = torch.stack([cosine, -sine, right, sine, cosine, down], 1).view(-1, 2, 3)
    grid = affine_grid(maps, [len(images), 1, *images.shape[1:]], align_corners=False)
    return grid_sample(images[:, None], grid, align_corners=False)[:, 0]
