"""What a client has to write, and the next request frame of it."""

from __future__ import annotations

from headrace.protos import sequences_pb2 as pb

from . import frames
from .ledger import Ledger, Phase
from .served import ServedModel
from .step import Step


class Outbox:
    """Mutable; dicts stand for ordered sets. `clear` loses nothing: reopening the ledgers brings it all up again."""

    def __init__(self, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._opens: dict[Ledger, None] = {}
        self._ready: dict[ServedModel, dict[Ledger, None]] = {}  # those with steps that wait
        self._cancels: list[tuple[int, int]] = []  # key, position
        self._closes: list[int] = []  # keys

    def __repr__(self) -> str:
        return f"Outbox(opens={len(self._opens)}, ready={sum(map(len, self._ready.values()))})"

    def open(self, ledger: Ledger) -> None:
        self._opens[ledger] = None

    def ready(self, ledger: Ledger, served: ServedModel) -> None:
        self._ready.setdefault(served, {})[ledger] = None

    def cancel(self, key: int, position: int) -> None:
        self._cancels.append((key, position))

    def close(self, key: int) -> None:
        self._closes.append(key)

    def drop(self, ledger: Ledger) -> None:
        """It is dead: its Open is not to be written any more; its steps are gone already."""
        self._opens.pop(ledger, None)

    def clear(self) -> None:
        self._opens.clear()
        self._ready.clear()
        self._cancels.clear()
        self._closes.clear()

    def next_frame(self, now: float) -> pb.Request | None:
        """None: nothing to write now."""
        opens, steps = self._take_opens(now), self._take_steps(now)
        cancels, self._cancels = self._cancels, []
        closes, self._closes = self._closes, []
        if not (opens or steps or cancels or closes):
            return None
        return pb.Request(
            opens=opens,
            steps=frames.encode(steps, now) if steps else None,
            cancels=frames.cancels(cancels) if cancels else None,
            closes=frames.keys(closes),
        )

    def _take_opens(self, now: float) -> list[pb.Open]:
        due = [ledger for ledger in self._opens if ledger.not_before <= now]
        for ledger in due:
            ledger.phase = Phase.ASKED
            del self._opens[ledger]
        return [ledger.message() for ledger in due]

    def _take_steps(self, now: float) -> list[Step]:
        """Steps of one model, as many as a frame may carry; the models take turns."""
        steps: list[Step] = []
        while self._ready and not steps:
            served = next(iter(self._ready))
            ledgers = self._ready.pop(served)
            steps = self._drain(ledgers, now)
            if ledgers:
                self._ready[served] = ledgers
        return steps

    def _drain(self, ledgers: dict[Ledger, None], now: float) -> list[Step]:
        """Empties `ledgers` as far as the frame has room."""
        steps, room = list[Step](), self._frame_bytes
        while ledgers:
            ledger = next(iter(ledgers))
            while ledger.sendable(now):
                room -= ledger.waiting[0].size
                if room < 0 and steps:
                    return steps
                steps.append(ledger.take())
            del ledgers[ledger]
        return steps
