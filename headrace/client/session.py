"""All that one client has under way, as plain data: it says what to write next and is told what came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

import numpy as np

from headrace.errors import DeadlineExceeded, HeadraceError, InvalidInput, Unavailable
from headrace.protos import sequences_pb2 as pb

from . import frames
from .codes import again, from_wire
from .ledger import Ledger, Opening, Phase
from .ordered import Ordered
from .outbox import MOST_ROWS, Outbox
from .settings import Settings
from .step import UNSENT, Step
from .tensors import results
from .unordered import Unordered


class FrameRefused(Exception):
    """The server could not read a frame. What it carried is still under way: a new stream tells what became of it."""


class Session:
    """Mutable: the ledgers by key, the outbox, and `due`, when time next changes something.

    `wake` is called when there may be something to write, `alarm` when `due` has changed.
    """

    def __init__(self, settings: Settings, wake: Callable[[], None], alarm: Callable[[], None]) -> None:
        self.due = inf
        self._settings = settings
        self._wake, self._alarm = wake, alarm
        self._ledgers: dict[int, Ledger] = {}
        self._watched: dict[Ledger, None] = {}  # an ordered set: those on which time may act
        self._outbox = Outbox(settings.frame_bytes)
        self._free_keys: list[int] = []
        self._keys = 0
        self._online = False
        self._offline_because = "it was not reached yet"
        self._refusal: FrameRefused | None = None
        self._error: HeadraceError | None = None  # why the session is over

    def __repr__(self) -> str:
        return f"Session(keys={len(self._ledgers)}, online={self._online}, outbox={self._outbox})"

    # What callers want

    def open(self, opening: Opening, opened: asyncio.Future[pb.Opened], by: float) -> Ledger:
        """`opened` is resolved with the server's answer, or fails; at the time `by` at the latest.

        Raises InvalidInput if no frame has room for it, or the error that ended the session.
        """
        if self._error is not None:
            raise again(self._error)
        kind = Ordered if opening.id else Unordered
        ledger = kind(self._new_key(), opening, self._settings, opened, by)
        if too_large := self._too_large(ledger):
            self._free_keys.append(ledger.key)
            raise too_large
        self._ledgers[ledger.key] = ledger
        self._watch(ledger, by)
        self._go_on(ledger)
        return ledger

    def submit(self, ledger: Ledger, step: Step) -> None:
        """Raises InvalidInput if no frame has room for it, or the error of which the ledger died."""
        if ledger.phase is Phase.DEAD or ledger.closed is not None:
            raise again(ledger.error)
        if not self._outbox.fits(step.size):
            raise self._step_too_large(step)
        ledger.submit(step)
        self._watch(ledger, step.deadline)
        self._go_on(ledger)

    def give_up(self, ledger: Ledger, step: Step) -> None:
        """Its caller no longer waits for the step: the server hears of it, and the sequence stays usable."""
        if ledger.give_up(step):
            self._outbox.cancel(ledger, step)
        self._go_on(ledger)

    def close(self, ledger: Ledger, closed: asyncio.Future[HeadraceError | None], by: float) -> None:
        """`closed` gets None when all steps are answered and the server let the key go, at `by` the reason why not."""
        ledger.close(closed, by)
        self._watch(ledger, ledger.due(by))
        self._go_on(ledger)

    # What to write, what came

    def next_frame(self, now: float) -> pb.Request | None:
        """None: nothing to write now."""
        if now >= self.due:
            self.tick(now)  # a step that is too late must not be written: it would seem to have no timeout
        return self._outbox.next_frame(now) if self._online else None

    def receive(self, reply: pb.Reply, now: float) -> None:
        """Raises FrameRefused, or ValueError if the reply is not of this protocol."""
        for opened in reply.opened:
            self._opened(opened)
        for stepped in reply.stepped:
            self._stepped(stepped)
        for error in reply.errors:
            self._refused(error, now)
        for key in np.frombuffer(reply.closed, "<u4").tolist():
            self._closed(key)

    def _opened(self, opened: pb.Opened) -> None:
        ledger = self._ledgers.get(opened.key)
        if ledger is not None:
            ledger.accept(opened)
            self._go_on(ledger)

    def _stepped(self, stepped: pb.Stepped) -> None:
        keys = np.frombuffer(stepped.keys, "<u4").tolist()
        self._outbox.answered(len(keys))
        known = (self._ledgers.get(key) for key in keys)
        served = next((ledger.served for ledger in known if ledger is not None), None)
        if served is None:
            return  # all of sequences that died here while their answers were on the way
        for key, position, result in results(served.spec, stepped):
            ledger = self._ledgers.get(key)
            if ledger is not None:
                ledger.answered(position, result)
                if ledger.waiting or ledger.closed is not None:
                    self._go_on(ledger)

    def _refused(self, told: pb.Error, now: float) -> None:
        if not told.HasField("key"):
            self._refusal = FrameRefused(f"the server could not read a frame: {told.message}")
            raise self._refusal
        self._outbox.answered(int(told.HasField("position")))
        ledger = self._ledgers.get(told.key)
        if ledger is None:
            return
        if told.HasField("position"):
            ledger.refused(told.position, from_wire(told), now)
        elif ledger.phase is Phase.ASKED:
            ledger.not_opened(from_wire(told), now)
            if ledger.dead:
                self._free(ledger)  # there is nothing else under way of what was never opened on this stream
        else:
            ledger.fail(from_wire(told))
        self._watch(ledger, ledger.due(now))
        self._go_on(ledger)

    def _closed(self, key: int) -> None:
        """Unasked too: a client of the other service began that sequence anew, by its name."""
        ledger = self._ledgers.get(key)
        if ledger is None:
            return
        asked = ledger.phase is Phase.CLOSING and not self._outbox.withdraw_close(key)
        ledger.fail(ledger.error)
        if asked:
            self._free(ledger)
        else:
            self._go_on(ledger)  # what is under way for its key must not meet another: it rests until the next stream

    # The connection, and time

    def online(self) -> None:
        """A new stream: whatever was open is opened again, and so it turns out which steps have to be sent again."""
        self._online = True
        self._outbox.clear()
        self._free_keys = [key for key in range(self._keys) if key not in self._ledgers]  # no old answer can come here
        for ledger in self._ledgers.values():
            ledger.phase = Phase.NEW
            self._go_on(ledger)

    def offline(self, because: str) -> None:
        self._online, self._offline_because = False, because

    def limit(self, frame_bytes: int, frame_rows: int) -> None:
        """The server takes request frames of so many bytes and rows, 0 if it does not say. What fits into none fails.

        Raises FrameRefused if a frame was refused, and was not too large: the next one would be refused as well.
        """
        limit = min(self._settings.frame_bytes, frame_bytes or self._settings.frame_bytes)
        if self._refusal is not None and limit >= self._outbox.frame_bytes:
            raise self._refusal
        self._outbox.frame_bytes, self._refusal = limit, None
        self._outbox.frame_rows = min(MOST_ROWS, frame_rows or MOST_ROWS)
        for ledger in list(self._ledgers.values()):
            self._fail_what_is_too_large(ledger)

    def _fail_what_is_too_large(self, ledger: Ledger) -> None:
        if error := self._too_large(ledger):
            ledger.fail(error)
        for step in list(ledger.pending()):
            if not self._outbox.fits(step.size):
                step.fail(self._step_too_large(step))
                self.give_up(ledger, step)
        self._go_on(ledger)

    def tick(self, now: float) -> None:
        """What falls due at `now`: steps that come too late, and retries."""
        watched, self._watched = list(self._watched), {}
        for ledger in watched:
            for step in ledger.overdue(now):
                step.fail(_late(step) if self._online else self._unreached())
                self.give_up(ledger, step)
            ledger.expire(now, self._unreached())
            self._go_on(ledger)
        self._watched |= {ledger: None for ledger in watched if ledger.due(now) < inf}
        self.due = min((ledger.due(now) for ledger in self._watched), default=inf)
        self._alarm()

    def fail(self, error: HeadraceError) -> None:
        """The session is over: all callers are told, and those who come later."""
        self._error = self._error or error
        for ledger in list(self._ledgers.values()):
            ledger.fail(error)
            self._go_on(ledger)

    def _unreached(self) -> HeadraceError:
        if self._online:
            return Unavailable("the server did not answer in time; retry later")
        return Unavailable(
            f"no connection to the server: {self._offline_because}; whether a step that was sent is applied, "
            "the sequence's position tells once the server is back"
        )

    # Bookkeeping

    def _go_on(self, ledger: Ledger) -> None:
        """After a change: what the ledger now has to write, if anything."""
        phase = ledger.phase
        if phase is Phase.DEAD:
            if self._ledgers.get(ledger.key) is ledger:  # else another one has its key by now
                del self._ledgers[ledger.key]  # the key is free on the next stream: answers may still be on the way
            self._outbox.drop(ledger)
        elif phase is Phase.NEW:
            self._outbox.open(ledger)
        elif ledger.waiting and ledger.served is not None:
            self._outbox.ready(ledger, ledger.served)
        elif ledger.closed is not None and phase is Phase.LIVE and ledger.idle:
            ledger.phase = Phase.CLOSING
            self._outbox.close(ledger.key)
        self._wake()

    def _too_large(self, ledger: Ledger) -> InvalidInput | None:
        size = frames.open_bytes(ledger.message())
        return None if self._outbox.fits(size) else InvalidInput(f"an open of {size} bytes {self._fits_no_frame()}")

    def _step_too_large(self, step: Step) -> InvalidInput:
        return InvalidInput(f"a step of {step.size} bytes {self._fits_no_frame()}; send it in shorter chunks")

    def _fits_no_frame(self) -> str:
        return f"does not fit into a frame, which has at most {self._outbox.frame_bytes} here"

    def _watch(self, ledger: Ledger, due: float) -> None:
        self._watched[ledger] = None
        if due < self.due:
            self.due = due
            self._alarm()

    def _free(self, ledger: Ledger) -> None:
        """Nothing more can come for its key on this stream."""
        del self._ledgers[ledger.key]
        self._free_keys.append(ledger.key)

    def _new_key(self) -> int:
        if self._free_keys:
            return self._free_keys.pop()
        self._keys += 1
        return self._keys - 1


def _late(step: Step) -> DeadlineExceeded:
    if step.position == UNSENT:
        return DeadlineExceeded("the step's time ran out before it was sent; nothing was applied")
    return DeadlineExceeded(
        "no answer came in the step's time; whether it is applied, the sequence's position tells later"
    )
