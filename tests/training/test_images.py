"""The digits' task: images become strips, move by a pixel at most, and are judged each by its own class."""

from __future__ import annotations

import pytest
import torch

from headrace.training.data import digits
from headrace.training.images import Images, swayed
from headrace.training.models import Config, build

CONFIG: Config = {
    "architecture": "vision-transformer",
    "side": 8,
    "patch": 2,
    "levels": 17,
    "width": 8,
    "heads": 2,
    "layers": 1,
    "labels": list(digits.LABELS),
}


def task() -> Images:
    return Images("tiny", CONFIG, digits.load("TRAIN"), digits.load("TEST"))


def test_an_epoch_reads_every_training_image_once() -> None:
    torch.manual_seed(0)
    batches = list(task().batches(0))
    labels = torch.cat([b.targets for b in batches])
    assert torch.bincount(labels).tolist() == [n - 10 for n in (142, 146, 142, 146, 145, 145, 145, 143, 139, 144)]
    assert all(b.x.shape == (4 * len(b.targets), 2, 8) and set(b.lengths.tolist()) == {4} for b in batches)


def test_images_sway_but_a_little() -> None:
    torch.manual_seed(0)
    dots = torch.zeros(200, 8, 8)
    dots[:, 3, 4] = 16
    moved = swayed(dots)
    held = moved.sum((1, 2))
    assert (moved >= 0).all() and (moved - dots).abs().amax((1, 2)).min() > 0.1
    places = torch.arange(8.0)
    for axis, place in ((2, 3), (1, 4)):  # the middle of the ink, down and to the right
        middle = (moved.sum(axis) * places).sum(1) / held
        assert (middle - place).abs().max() < 1 and middle.std() > 0.2


def test_the_score_is_the_share_of_test_images_named_right() -> None:
    model = build(CONFIG).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.eye(10)[3])
    score = task().score(model)  # a model that says "three" whatever it sees
    assert score.value == pytest.approx(37 / 360)
    assert (score.metric, score.better) == ("accuracy", "higher")
