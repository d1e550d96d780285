"""Random numbers by counter: what is drawn depends on a seed and a position alone, not on what was drawn before.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..steps import Rows

Words = NDArray[np.uint64]

ROUNDS = 10

#: The multipliers of counter words 0 and 2, and what the key's two words grow by each round (table 2 of the paper).
_FACTORS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_GROWTH = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64) * np.arange(ROUNDS, dtype=np.uint64)[:, None, None]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

#: The third counter word, which tells what is drawn: seeds, or the numbers by which tokens are chosen.
_SEEDS, _TOKENS = 1, 0


def philox(counter: Words, key: Words) -> Words:
    """counter [4, rows] and key [2, rows], words of 32 bits each → [4, rows] random words of 32 bits."""
    keys = (key + _GROWTH) & _LOW  # [rounds, 2, rows]
    multiplied, others = counter[0::2], counter[1::2]  # [2, rows]: words 0 and 2, words 1 and 3
    for key in keys:
        product = multiplied * _FACTORS
        multiplied, others = (product >> _HALF)[::-1] ^ others ^ key, (product & _LOW)[::-1]
    return np.stack([multiplied[0], others[0], multiplied[1], others[1]])


def uniforms(seeds: Words, positions: Rows) -> NDArray[np.float64]:
    """seeds [rows] of 64 bits and positions [rows], 0 and above → [rows] in [0, 1), multiples of 2**-53."""
    drawn = _bits(seeds, positions.astype(np.uint64), _TOKENS)
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def seed_of(seed: int, prompt: int, copy: int) -> int:
    """The seed, of 64 bits, of one continuation of one prompt of a request whose seed (of 64 bits too) is given."""
    place = np.array([prompt << 32 | copy], np.uint64)
    return int(_bits(np.array([seed], np.uint64), place, _SEEDS)[0])


def _bits(seeds: Words, places: Words, what: int) -> Words:
    """[rows] of 64 random bits for seeds and places [rows] of 64 bits."""
    counter = np.stack([places & _LOW, places >> _HALF, np.full_like(places, what), np.zeros_like(places)])
    words = philox(counter, np.stack([seeds & _LOW, seeds >> _HALF]))
    bits: Words = words[0] << _HALF | words[1]
    return bits
