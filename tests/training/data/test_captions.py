"""Digits as texts, there and back."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.training.data import captions, digits


def test_a_picture_is_64_letters_there_and_back() -> None:
    image = digits.load("TEST").images[0]
    told = captions.written(image)
    assert len(told) == 64 and np.array_equal(captions.seen(told), image)
    assert captions.SYMBOLS[captions.FIRST + 3] == captions.written(np.full((8, 8), 3))[0]


def test_captions_come_in_several_wordings() -> None:
    assert {"a seven", "the digit 7", "digit seven", "7", "seven"} <= set(captions.captions(7))
    assert "an eight" in captions.captions(8) and "draw an 8" in captions.captions(8)
    assert len(set(captions.captions(3))) == 2 * len(captions.WORDINGS)


def test_every_caption_and_picture_fits() -> None:
    every = [told for digit in range(10) for told in captions.captions(digit)]
    assert max(map(len, every)) + 1 + captions.PIXELS <= captions.LONGEST
    assert all(set(told) <= set(captions.CAPTION_LETTERS) for told in every)
    assert len(set(captions.SYMBOLS)) == len(captions.SYMBOLS) and len(captions.GREYS) == digits.LEVELS


def test_a_letter_that_no_caption_has_is_refused() -> None:
    with pytest.raises(ValueError, match="substring"):
        captions.ids("a seven!")
