"""What a turn tells callers: one answer for each of them, whatever number of its texts grew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from headrace.errors import HeadraceError

from ..steps import Answers, Ending, Failed, Sink, Wrote
from .stops import Told

#: What was added to a text, and its ending.
Line = tuple[Told, Ending | None]

NOTHING = Told((), "")


class Outbox:
    """Mutable: `_lines`, caller → its key of a text → what is told of that; `_failed`."""

    def __init__(self) -> None:
        self._lines: dict[Sink, dict[int, Line]] = {}
        self._failed: Answers = []

    def add(self, sink: Sink, key: int, told: Told, ending: Ending | None) -> None:
        """Behind what was added to the text before. Nothing is said of one to which nothing was added."""
        if told.text or told.tokens or ending is not None:
            lines = self._lines.setdefault(sink, {})
            before = lines.get(key)
            lines[key] = (told if before is None else before[0].then(told), ending)

    def end(self, sink: Sink, keys: Iterable[int], ending: Ending) -> None:
        """Texts that end before they began."""
        for key in keys:
            self.add(sink, key, NOTHING, ending)

    def fail(self, sink: Sink, keys: Iterable[int], error: HeadraceError) -> None:
        self._failed += [(sink, Failed(key, None, error)) for key in keys]

    def answers(self) -> Answers:
        return [*self._wrote(), *self._failed]

    def _wrote(self) -> Iterator[tuple[Sink, Wrote]]:
        """The columns are made for all callers at once, and cut."""
        lines = list(chain.from_iterable(own.values() for own in self._lines.values()))
        keys = np.array(list(chain.from_iterable(self._lines.values())), np.uint32)
        lengths = np.array([len(told.tokens) for told, _ in lines], np.int64)
        tokens = np.array([token for told, _ in lines for token in told.tokens], np.int64)
        row = token = 0
        for sink, texts_of in self._lines.items():
            own = texts_of.values()
            rows, count = slice(row, row + len(own)), sum(len(told.tokens) for told, _ in own)
            texts, endings = tuple(told.text for told, _ in own), tuple(ending for _, ending in own)
            yield sink, Wrote(keys[rows], lengths[rows], tokens[token : token + count], texts, endings)
            row, token = rows.stop, token + count
