"""What was written and is not sent yet: of each text one part, however slowly its caller reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass(slots=True, eq=False)
class Draft:
    """What was added to one text since its caller heard of it. Mutable, all of it.

    Lists, not the message itself: a string there that is written to anew is kept beside all it was before.
    """

    tokens: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    ending: Ending | None = None
    error: HeadraceError | None = None

    def part(self, place: Place) -> pb.GenerateReply.Part:
        prompt, copy = place
        ending = pb.NOT_ENDED if self.ending is None else ENDINGS[self.ending]
        error = None if self.error is None else write_error(self.error)
        text = "".join(self.texts)
        return pb.GenerateReply.Part(
            prompt=prompt, copy=copy, tokens=self.tokens, text=text, ending=ending, error=error
        )


class Drafts:
    """Mutable: `_replies`, of each what it says of which text; sizes in tokens and parts, of all and of the last."""

    def __init__(self) -> None:
        self._replies: list[dict[Place, Draft]] = []
        self._size = self._last = 0

    def __repr__(self) -> str:
        return f"Drafts(replies={len(self._replies)}, size={self._size})"

    def __bool__(self) -> bool:
        return bool(self._replies)

    def add(self, place: Place, tokens: Sequence[int], text: str, ending: Ending | None) -> None:
        """Raises Overloaded if so much is unread that no more is kept."""
        draft = self._grown(place, len(tokens))
        draft.tokens += tokens
        draft.texts.append(text)
        draft.ending = ending

    def fail(self, place: Place, error: HeadraceError) -> None:
        """Raises as `add` does."""
        self._grown(place, 0).error = error

    def take(self) -> list[pb.GenerateReply]:
        """All that waits, in order."""
        replies, self._replies = self._replies, []
        self._size = self._last = 0
        return [pb.GenerateReply(parts=[draft.part(place) for place, draft in drafts.items()]) for drafts in replies]

    def _grown(self, place: Place, tokens: int) -> Draft:
        """The draft of a text to which so many tokens come."""
        if self._size + tokens >= UNREAD:
            raise Overloaded("what was written for this call is not read; read faster, or ask for less at once")
        if not self._replies or self._last >= REPLY:
            self._replies.append({})
            self._last = 0
        self._size, self._last = self._size + tokens + 1, self._last + tokens + 1
        return self._replies[-1].setdefault(place, Draft())
