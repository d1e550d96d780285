"""What a client has to write, and the next request frame of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from headrace.protos import sequences_pb2 as pb

from . import frames
from .ledger import Ledger, Phase
from .served import ServedModel
from .step import Step

#: Rows of a frame, at most. A server refuses them all at once if they are more than it has room for in its queue.
MOST_ROWS = 1024

#: Rows from which on it pays to have a second frame under way: a frame costs both sides about as much as 10 rows.
SPLIT = 32


@dataclass(slots=True)
class Room:
    """Mutable: bytes that are left in a frame."""

    left: int

    def take(self, size: int) -> bool:
        """Whether there was so much."""
        if size > self.left:
            return False
        self.left -= size
        return True


class Outbox:
    """Mutable; dicts stand for ordered sets. `clear` loses nothing: reopening the ledgers brings it all up again.

    What does not fit into a frame of `frame_bytes` and `frame_rows` goes into the next; what fits into none must not
    come in. Callers who wait for their last step before they make the next come together in one frame, and then server
    and client take turns instead of working side by side. So a frame has no more than half of the rows that are under
    way or wait.
    """

    def __init__(self, frame_bytes: int) -> None:
        self.frame_bytes, self.frame_rows = frame_bytes, MOST_ROWS
        self._opens: dict[Ledger, None] = {}
        self._ready: defaultdict[ServedModel, dict[Ledger, None]] = defaultdict(dict)  # those with steps that wait
        self._cancels: dict[Step, Ledger] = {}
        self._closes: list[int] = []  # keys
        self._under_way = 0  # rows that are written and not answered, about: nothing but the size of frames hangs on it

    def __repr__(self) -> str:
        return f"Outbox(opens={len(self._opens)}, ready={sum(map(len, self._ready.values()))})"

    def open(self, ledger: Ledger) -> None:
        self._opens[ledger] = None

    def ready(self, ledger: Ledger, served: ServedModel) -> None:
        self._ready[served][ledger] = None

    def cancel(self, ledger: Ledger, step: Step) -> None:
        self._cancels[step] = ledger

    def close(self, key: int) -> None:
        self._closes.append(key)

    def withdraw_close(self, key: int) -> bool:
        """Whether a close of the key was still to be written; it is not any more."""
        waits = key in self._closes
        self._closes = [other for other in self._closes if other != key]
        return waits

    def drop(self, ledger: Ledger) -> None:
        """It is dead: its Open is not to be written any more; its steps are gone already."""
        self._opens.pop(ledger, None)

    def answered(self, rows: int) -> None:
        """So many rows of earlier frames, or refused."""
        self._under_way = max(0, self._under_way - rows)

    def clear(self) -> None:
        self._under_way = 0
        self._opens.clear()
        self._ready.clear()
        self._cancels.clear()
        self._closes.clear()

    def next_frame(self, now: float) -> pb.Request | None:
        """None: nothing to write now."""
        room = Room(self.frame_bytes - frames.HEAD)
        opens = self._take_opens(now, room)
        cancels, closes = self._take_cancels(room), self._take_closes(room)
        steps = self._take_steps(now, room)  # last: they may fill every frame
        if not (opens or steps or cancels or closes):
            return None
        return pb.Request(
            opens=opens,
            steps=frames.encode(steps, now) if steps else None,
            cancels=frames.cancels(cancels) if cancels else None,
            closes=frames.keys(closes),
        )

    def fits(self, size: int) -> bool:
        """Whether a frame has room for so much at all."""
        return size <= self.frame_bytes - frames.HEAD

    def _take_opens(self, now: float, room: Room) -> list[pb.Open]:
        messages: list[pb.Open] = []
        for ledger in [ledger for ledger in self._opens if ledger.not_before <= now]:
            message = ledger.message()
            if not room.take(frames.open_bytes(message)):
                break
            ledger.phase = Phase.ASKED
            del self._opens[ledger]
            messages.append(message)
        return messages

    def _take_cancels(self, room: Room) -> list[Step]:
        """Of a step that is answered by now nothing is said: at its position may be another one, in this very frame."""
        cancels: list[Step] = []
        for step, ledger in list(self._cancels.items()):
            if ledger.awaits(step):
                if not room.take(frames.CANCEL):
                    break
                cancels.append(step)
            del self._cancels[step]
        return cancels

    def _take_closes(self, room: Room) -> list[int]:
        count = min(len(self._closes), max(0, room.left) // frames.CLOSE)
        room.take(count * frames.CLOSE)
        closes, self._closes = self._closes[:count], self._closes[count:]
        return closes

    def _take_steps(self, now: float, room: Room) -> list[Step]:
        """Steps of one model, as many as there is room for; the models take turns."""
        steps: list[Step] = []
        while self._ready and not steps:
            served = next(iter(self._ready))
            ledgers = self._ready.pop(served)
            rows = self._under_way + sum([len(ledger.waiting) for ledger in ledgers])
            most = min(self.frame_rows, max(SPLIT, -(-rows // 2)))
            steps = self._drained(ledgers, now, room, most)
            self._under_way += len(steps)
            if ledgers:
                self._ready[served] = ledgers
                return steps
        return steps

    def _drained(self, ledgers: dict[Ledger, None], now: float, room: Room, most: int) -> list[Step]:
        """Empties `ledgers` from the front, as far as there is room, to `most` rows."""
        steps: list[Step] = []
        emptied: list[Ledger] = []
        for ledger in ledgers:
            if not self._drain(ledger, steps, now, room, most):
                break
            emptied.append(ledger)
        for ledger in emptied:  # not one by one above: to find a dict's first key takes time where many were deleted
            del ledgers[ledger]
        return steps

    def _drain(self, ledger: Ledger, steps: list[Step], now: float, room: Room, most: int) -> bool:
        """Whether there was room for all that may be written of it now."""
        while ledger.waiting and ledger.sendable(now):
            if len(steps) == most or not room.take(ledger.waiting[0].size):
                return False
            steps.append(ledger.take())
        return True
