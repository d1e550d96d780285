"""The speakers' data are what their source says, and the slice kept for selection is one of every class alike."""

from __future__ import annotations

import numpy as np

from headrace.training.data import vowels


def test_parts_have_the_sizes_of_the_source() -> None:
    train, test = vowels.load("TRAIN"), vowels.load("TEST")
    assert (len(train), len(test)) == (270, 370)
    lengths = [len(row) for row in train.rows + test.rows]
    assert (min(lengths), max(lengths)) == (7, 29)
    assert {row.shape[1] for row in train.rows + test.rows} == {vowels.CHANNELS}
    assert np.bincount(train.labels).tolist() == [30] * 9
    assert np.bincount(test.labels).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]


def test_first_value_of_each_channel_is_that_of_the_file() -> None:
    first = vowels.load("TRAIN").rows[0]
    assert first.dtype == np.float32
    expected = np.array([[1.860936, -0.207383, 0.261557], [1.891651, -0.193249, 0.235363]], np.float32)
    assert np.array_equal(first[:2, :3], expected)


def test_parse_turns_channels_into_columns() -> None:
    read = vowels.parse("@classLabel true 1 2\n@data\n1,2,3:4,5,6:2\n7:8:1\n")
    assert [row.tolist() for row in read.rows] == [[[1, 4], [2, 5], [3, 6]], [[7, 8]]]
    assert read.labels.tolist() == [1, 0]


def test_held_out_takes_as_many_of_every_class_and_nothing_twice() -> None:
    train = vowels.load("TRAIN")
    rest, held = vowels.held_out(train, 5, np.random.default_rng(0))
    assert np.bincount(held.labels).tolist() == [5] * 9
    ids = {id(row) for row in train.rows}
    assert len(rest) == 225 and {id(row) for row in rest.rows} | {id(row) for row in held.rows} == ids
