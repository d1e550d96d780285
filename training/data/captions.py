"""Handwritten digits as texts: a caption, a line's end, and the picture's pixels, one letter each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .digits import SIDE

#: Names of the digits, by their values.
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

#: How a digit is asked for, in small letters, by its name or its figure.
WORDINGS = ("{}", "a {}", "the {}", "digit {}", "a digit {}", "the digit {}", "number {}", "the number {}", "draw a {}")

#: One letter for each grey level, from paper to ink.
GREYS = "ABCDEFGHIJKLMNOPQ"

#: Stands between caption and picture.
END = "\n"

#: What captions are written with, and all that a text is.
CAPTION_LETTERS = " 0123456789abcdefghijklmnopqrstuvwxyz"
SYMBOLS = END + CAPTION_LETTERS + GREYS

#: The id of the first grey; the others follow.
FIRST = SYMBOLS.index(GREYS[0])

#: Letters of a picture, and of the longest text: a caption, its end, a picture.
PIXELS = SIDE * SIDE
LONGEST = PIXELS + 32


def captions(digit: int) -> list[str]:
    """A digit in every wording: "seven", "a 7", "the digit seven", …; before a vowel, "an eight"."""
    told = [wording.format(name) for wording in WORDINGS for name in (NAMES[digit], str(digit))]
    return [t.replace("a eight", "an eight").replace("a 8", "an 8") for t in told]


def written(image: NDArray[np.int64]) -> str:
    """An image [8, 8] as its letters, row after row."""
    return "".join(GREYS[level] for level in image.reshape(-1))


def seen(letters: str) -> NDArray[np.int64]:
    """The reverse of `written`: [8, 8]."""
    return np.array([GREYS.index(letter) for letter in letters], np.int64).reshape(SIDE, SIDE)


def ids(text: str) -> list[int]:
    """Indices into SYMBOLS. Raises ValueError for a letter that no caption is written with."""
    return [SYMBOLS.index(letter) for letter in text]
