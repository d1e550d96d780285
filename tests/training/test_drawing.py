"""Captions and pictures: batches in which pixels alone are learnt, pictures drawn, and their judge."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headrace.training.data import captions, digits
from headrace.training.drawing import IGNORED, Drawing, batch, draw, judged
from headrace.training.models import Config, SequenceModel, build

CONFIG: Config = {
    "architecture": "decoder",
    "symbols": captions.SYMBOLS,
    **{"width": 8, "heads": 2, "layers": 1, "longest": captions.LONGEST},
}


def model() -> SequenceModel:
    torch.manual_seed(0)
    return build(CONFIG).eval()


@pytest.fixture(scope="module")
def task() -> Drawing:
    return Drawing("captions", CONFIG, digits.load("TRAIN"))


def test_only_pixels_are_to_be_learnt() -> None:
    image = np.arange(64).reshape(8, 8) % 17
    made = batch(["a one", "7"], np.stack([image, image]))
    assert made.lengths.tolist() == [5 + 1 + 63, 1 + 1 + 63]
    first, second = torch.split(made.targets, made.lengths.tolist())
    assert (first == IGNORED).sum() == 5 and (second == IGNORED).sum() == 1
    assert torch.equal(first[5:], torch.from_numpy(image.reshape(-1)) + captions.FIRST)
    told = "".join(captions.SYMBOLS[k] for k in made.x[:6].tolist())
    assert told == "a one\n"


def test_an_epoch_shows_images_in_several_wordings(task: Drawing) -> None:
    torch.manual_seed(0)
    first, second = (next(task.batches(0)) for _ in range(2))
    assert len(set(first.lengths.tolist())) > 3 and not torch.equal(first.x, second.x)


def test_a_model_that_knows_nothing_takes_all_letters_for_alike(task: Drawing) -> None:
    blank = model()
    for weight in blank.parameters():
        weight.data.zero_()
    assert task.select(blank) == pytest.approx(math.log(len(captions.SYMBOLS)), rel=1e-5)
    assert task.score(blank).value < 0.2  # noise is read as whatever it may be


def test_pictures_are_drawn_letter_by_letter() -> None:
    """A model that likes one grey best, whatever came before, draws it everywhere; it cannot draw other letters."""
    blank = model()
    for weight in blank.parameters():
        weight.data.zero_()
    bias = blank.get_parameter("head.bias")
    bias.data[captions.FIRST + 9], bias.data[0] = 50.0, 100.0
    pictures = draw(blank, ["a one", "seven"], torch.Generator().manual_seed(0))
    assert pictures.shape == (2, 8, 8) and (pictures == 9).all()


def test_the_judge_reads_real_digits() -> None:
    test = digits.load("TEST")
    assert (judged(digits.load("TRAIN"), test.images) == test.labels).mean() == pytest.approx(0.989, abs=0.001)
