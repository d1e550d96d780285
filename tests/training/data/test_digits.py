"""The digits are what their source says, and the parts are those of the published split."""

from __future__ import annotations

import numpy as np

from headrace.training.data import digits


def test_parts_have_the_sizes_of_the_split() -> None:
    train, test = digits.load("TRAIN"), digits.load("TEST")
    assert (train.images.shape, test.images.shape) == ((1437, 8, 8), (360, 8, 8))
    assert np.bincount(train.labels).tolist() == [142, 146, 142, 146, 145, 145, 145, 143, 139, 144]
    assert np.bincount(test.labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    every = np.concatenate([train.images, test.images])
    assert (every.min(), every.max(), every.sum()) == (0, 16, 561718)


def test_the_first_image_is_the_zero_of_the_file() -> None:
    first = digits.load("TRAIN").take(np.array([0]))
    assert first.labels.tolist() == [0]
    assert first.images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_held_out_takes_as_many_of_every_class_and_nothing_twice() -> None:
    train = digits.load("TRAIN")
    rest, held = digits.held_out(train, 10, np.random.default_rng(0))
    assert np.bincount(held.labels).tolist() == [10] * 10
    assert (len(rest), rest.images.sum() + held.images.sum()) == (1337, train.images.sum())
