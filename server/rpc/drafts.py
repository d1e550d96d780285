"""What was written and is not sent yet: of each text one part, however slowly its caller reads."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import HeadraceError, Overloaded
from headrace.protos import sequences_pb2 as pb

from ..steps import Ending
from .frames import write_error

#: Tokens and parts in one reply, unless a single answer of a lane has more; and in all that may wait for the caller.
REPLY, UNREAD = 1 << 16, 1 << 20

ENDINGS: dict[Ending, pb.Ending] = {
    Ending.END: pb.END,
    Ending.STOP: pb.STOP,
    Ending.MOST: pb.MOST,
    Ending.FULL: pb.FULL,
    Ending.LATE: pb.LATE,
}

#: Which prompt of the request, and which of its continuations.
Place = tuple[int, int]


class Drafts:
    """Mutable: `_replies`; `_parts`, those of the last reply, by place; sizes in tokens and parts."""

    def __init__(self) -> None:
        self._replies: list[pb.GenerateReply] = []
        self._parts: dict[Place, pb.GenerateReply.Part] = {}
        self._size = self._last = 0

    def __repr__(self) -> str:
        return f"Drafts(replies={len(self._replies)}, size={self._size})"

    def __bool__(self) -> bool:
        return bool(self._replies)

    def add(self, place: Place, tokens: Sequence[int], text: str, ending: Ending | None) -> None:
        """Raises Overloaded if so much is unread that no more is kept."""
        self._grow(len(tokens))
        part = self._part(place)
        part.tokens.extend(tokens)
        part.text += text
        if ending is not None:
            part.ending = ENDINGS[ending]

    def fail(self, place: Place, error: HeadraceError) -> None:
        """Raises as `add` does."""
        self._grow(0)
        self._part(place).error.CopyFrom(write_error(error))

    def take(self) -> list[pb.GenerateReply]:
        """All that waits, in order."""
        replies, self._replies, self._parts = self._replies, [], {}
        self._size = self._last = 0
        return replies

    def _grow(self, tokens: int) -> None:
        if self._size + tokens >= UNREAD:
            raise Overloaded("what was written for this call is not read; read faster, or ask for less at once")
        if not self._replies or self._last >= REPLY:
            self._replies.append(pb.GenerateReply())
            self._parts, self._last = {}, 0
        self._size, self._last = self._size + tokens + 1, self._last + tokens + 1

    def _part(self, place: Place) -> pb.GenerateReply.Part:
        part = self._parts.get(place)
        if part is None:
            prompt, copy = place
            part = self._parts[place] = self._replies[-1].parts.add(prompt=prompt, copy=copy)
        return part
