"""The King James text as token ids (see DATA.md)."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Shares of the text, from its end: scored, and before it kept for early stopping.
SCORED, SELECTION = 0.10, 0.02


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text in three consecutive parts, each [characters] int64: indices into `symbols`, which are sorted."""

    symbols: str
    train: NDArray[np.int64]
    selection: NDArray[np.int64]
    scored: NDArray[np.int64]

    def __repr__(self) -> str:
        sizes = f"{len(self.train)} + {len(self.selection)} + {len(self.scored)}"
        return f"Corpus({sizes} characters of {len(self.symbols)} symbols)"


def load() -> str:
    """The text: 31,102 verses, each ended by a newline."""
    with lzma.open(Path(__file__).with_name("kjv.txt.xz"), "rt", encoding="ascii", newline="") as file:
        return file.read()


def corpus(text: str) -> Corpus:
    """Cuts `text` into its parts, by characters."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)  # [characters]
    symbols, ids = np.unique(codes, return_inverse=True)
    scored = round(len(text) * (1 - SCORED))
    selection = scored - round(len(text) * SELECTION)
    train, select, score = np.split(ids.astype(np.int64), [selection, scored])
    return Corpus("".join(map(chr, symbols)), train, select, score)
