"""How long callers wait for tokens: for the first one of a text since it was asked for, then from one to the next."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..steps import Array, Rows


class Waited(NamedTuple):
    """Seconds: of texts for their first tokens, and of all others for their next ones, [tokens] each."""

    first: Array
    between: Array


NOTHING = Waited(np.zeros(0), np.zeros(0))


class Waits:
    """Mutable: columns [rows], `_since`, seconds, when the last token was chosen or the text asked for, and `_fresh`,
    whether none was chosen yet; and what was not taken."""

    def __init__(self, rows: int) -> None:
        self._since, self._fresh = np.zeros(rows), np.zeros(rows, np.bool_)
        self._waited = NOTHING

    def begin(self, row: int, asked: float) -> None:
        """A text is written in this row now, asked for at that time (seconds)."""
        self._since[row], self._fresh[row] = asked, True

    def chosen(self, rows: Rows, now: float, count: int = 1) -> None:
        """So many tokens of each of these rows, all at once: nobody waits from one of them to the next."""
        waited, fresh = now - self._since[rows], self._fresh[rows]
        self._since[rows], self._fresh[rows] = now, False
        first, between = self._waited
        at_once = np.zeros((count - 1) * len(rows))
        self._waited = Waited(np.append(first, waited[fresh]), np.concatenate([between, waited[~fresh], at_once]))

    def take(self) -> Waited:
        """Since it was asked last."""
        waited, self._waited = self._waited, NOTHING
        return waited
