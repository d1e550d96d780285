"""What was written and is not sent yet: columns, to which each answer of a lane is added as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, Overloaded
from headrace.protos import sequences_pb2 as pb

from ..steps import Ending, Rows, Wrote
from .cells import KEYS, POSITIONS
from .frames import write_error

#: Tokens and cells in one reply, unless a single answer of a lane has more; and in all that may wait for the caller.
REPLY, UNREAD = 1 << 16, 1 << 20

ENDINGS: dict[Ending, pb.Ending] = {
    Ending.END: pb.END,
    Ending.STOP: pb.STOP,
    Ending.MOST: pb.MOST,
    Ending.FULL: pb.FULL,
    Ending.LATE: pb.LATE,
}


@dataclass(frozen=True, slots=True)
class Places:
    """Of some texts, [texts]: which prompt of the request, and which of its continuations."""

    prompts: NDArray[np.uint32]
    copies: NDArray[np.uint32]

    @classmethod
    def of(cls, prompts: Sequence[int], copies: int) -> Places:
        """All continuations of these prompts, those of the first one first."""
        return cls(np.repeat(np.array(prompts, KEYS), copies), np.tile(np.arange(copies, dtype=KEYS), len(prompts)))

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, texts: NDArray[np.integer]) -> Places:
        """By their indices, [texts]. The only text is found without looking: calls of one text are the most."""
        if len(texts) == len(self.prompts) == 1:
            return self
        return Places(self.prompts[texts], self.copies[texts])


@dataclass(slots=True, eq=False)
class Draft:
    """The columns of one reply, as they are sent. Mutable, all of it."""

    prompts: bytearray = field(default_factory=bytearray)
    copies: bytearray = field(default_factory=bytearray)
    lengths: bytearray = field(default_factory=bytearray)
    tokens: bytearray = field(default_factory=bytearray)
    texts: list[str] = field(default_factory=list)
    ends: list[pb.GenerateReply.End] = field(default_factory=list)

    def add(self, places: Places, lengths: Rows, tokens: Rows, texts: Sequence[str]) -> int:
        """Some cells; returns the first one's number."""
        first = len(self.texts)
        self.prompts += places.prompts.tobytes()
        self.copies += places.copies.tobytes()
        self.lengths += lengths.tobytes()
        self.tokens += tokens.tobytes()
        self.texts += texts
        return first

    def reply(self) -> pb.GenerateReply:
        return pb.GenerateReply(
            prompts=bytes(self.prompts),
            copies=bytes(self.copies),
            lengths=bytes(self.lengths),
            tokens=bytes(self.tokens),
            texts=self.texts,
            ends=self.ends,
        )


class Drafts:
    """Mutable: `_drafts`, one for each reply; sizes in tokens and cells, of all of them and of the last."""

    def __init__(self) -> None:
        self._drafts: list[Draft] = []
        self._size = self._last = 0

    def __repr__(self) -> str:
        return f"Drafts(replies={len(self._drafts)}, size={self._size})"

    def __bool__(self) -> bool:
        return bool(self._drafts)

    def add(self, places: Places, wrote: Wrote) -> None:
        """What was added to the texts of these places, in the answer's order. Raises Overloaded if so much is unread
        that no more is kept."""
        draft = self._grown(len(places), len(wrote.tokens))
        first = draft.add(places, wrote.lengths, wrote.tokens, wrote.texts)
        if any(wrote.endings):
            ends = [(cell, ending) for cell, ending in enumerate(wrote.endings, first) if ending is not None]
            draft.ends += [pb.GenerateReply.End(cell=cell, ending=ENDINGS[ending]) for cell, ending in ends]

    def fail(self, places: Places, error: HeadraceError) -> None:
        """Texts that have ended with it. Raises as `add` does."""
        draft, told = self._grown(len(places), 0), write_error(error)
        nothing = np.zeros(len(places), POSITIONS)
        first = draft.add(places, nothing, nothing[:0], [""] * len(places))
        draft.ends += [pb.GenerateReply.End(cell=first + cell, error=told) for cell in range(len(places))]

    def take(self) -> list[pb.GenerateReply]:
        """All that waits, in order."""
        drafts, self._drafts = self._drafts, []
        self._size = self._last = 0
        return [draft.reply() for draft in drafts]

    def _grown(self, cells: int, tokens: int) -> Draft:
        """The draft to which so many come."""
        size = cells + tokens
        if self._size + size > UNREAD:
            raise Overloaded("what was written for this call is not read; read faster, or ask for less at once")
        if not self._drafts or self._last >= REPLY:
            self._drafts.append(Draft())
            self._last = 0
        self._size, self._last = self._size + size, self._last + size
        return self._drafts[-1]
