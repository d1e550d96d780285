"""CMUdict: how English words are pronounced (see DATA.md)."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: What words are written with.
LETTERS = "abcdefghijklmnopqrstuvwxyz"

#: The phones, without stress.
PHONES = (
    *("AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH"),
    *("K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH"),
)

#: Shares of the words: scored, and kept for early stopping.
SCORED, SELECTION = 0.10, 0.01

#: Draws the parts, the same for every run.
SPLIT = 0

Pronunciations = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Words and, of each, all its pronunciations: the first is the usual one."""

    spellings: tuple[str, ...]
    spoken: tuple[Pronunciations, ...]

    def __len__(self) -> int:
        return len(self.spellings)

    def __repr__(self) -> str:
        return f"Words({len(self)})"


@dataclass(frozen=True, slots=True)
class Dictionary:
    """All words in three parts, drawn at random: no word is in two of them."""

    train: Words
    selection: Words
    scored: Words


def load() -> dict[str, Pronunciations]:
    """117,493 words of the letters a to z."""
    with lzma.open(Path(__file__).with_name("cmudict.txt.xz"), "rt", encoding="ascii") as lines:
        return parse(lines.read())


def parse(text: str) -> dict[str, Pronunciations]:
    """Reads a word a line, then its pronunciations apart by slashes, their phones apart by spaces."""
    pairs = (line.split(" ", 1) for line in text.splitlines())
    return {word: tuple(tuple(p.split(" ")) for p in spoken.split("/")) for word, spoken in pairs}


def split(words: dict[str, Pronunciations]) -> Dictionary:
    """Draws the parts."""
    every = sorted(words)
    order = [every[k] for k in np.random.default_rng(SPLIT).permutation(len(every))]
    scored, held = round(len(order) * SCORED), round(len(order) * (SCORED + SELECTION))
    train, selection, score = (
        Words(tuple(part), tuple(words[word] for word in part))
        for part in (order[held:], order[scored:held], order[:scored])
    )
    return Dictionary(train, selection, score)
