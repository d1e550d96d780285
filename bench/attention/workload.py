"""What is to be written: prompts of mixed lengths, and so many tokens to each."""

from __future__ import annotations

import numpy as np

from ..decoder import SYMBOLS

#: Sequences at once.
LOADS = (1, 8, 32)
SHORTEST, LONGEST = 16, 256

#: Tokens written to each prompt.
NEW = 128


def prompts(count: int) -> list[list[int]]:
    """The same ones every time, and first those of a smaller count."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST, LONGEST + 1, max(LOADS))
    drawn = [rng.integers(0, len(SYMBOLS), length).tolist() for length in lengths]
    return drawn[:count]
