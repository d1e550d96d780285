"""A client's session and a scripted server in one thread: no wire, so that a test may order what happens at will."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from headrace.client.ledger import Ledger, Opening
from headrace.client.served import ServedModel
from headrace.client.session import Session
from headrace.client.settings import Settings
from headrace.client.step import Step
from headrace.protos import sequences_pb2 as pb

from .fake import Cut, FakeServer, Stream
from .rows import Row
from .specs import SUM

SERVED = ServedModel("sum", "1", SUM, "CPU")


class Line:
    """A session and a server, joined by function calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **dials: float) -> None:
        self.now = 0.0
        self.frames: list[pb.Steps] = []
        self.loop = loop
        self.server = FakeServer()
        self.session = Session(Settings(**dials), wake=lambda: None, alarm=lambda: None)
        self.connect()

    def connect(self) -> None:
        self.stream = Stream()
        self.session.online()

    def open(self, id: str = "a") -> Ledger:
        opening = Opening("sum", "", id, pb.FRESH, 1, "")
        ledger = self.session.open(opening, self.loop.create_future(), self.now + 30)
        ledger.served = SERVED
        self.exchange()
        return ledger

    def submit(self, ledger: Ledger, number: int, patience: float = 30.0) -> Step:
        """A step that adds `number`."""
        values = np.array([[number, 0]], "<f4").tobytes()
        step = Step(ledger.key, (values,), 1, self.now + patience, self.loop.create_future())
        self.session.submit(ledger, step)
        return step

    def write(self, cut: Cut | None = None) -> bool:
        """One frame; what is answered stays in the stream's queue. Returns whether there was one."""
        frame = self.session.next_frame(self.now)
        if frame is None:
            return False
        self.frames.append(frame.steps)
        reply = self.server.handle(self.stream, frame, cut)
        if reply is not None:
            self.stream.replies.put_nowait(reply)
        return True

    def read(self) -> None:
        while not self.stream.replies.empty():
            reply = self.stream.replies.get_nowait()
            if reply is not None:
                self.session.receive(reply, self.now)

    def exchange(self) -> None:
        """Until neither side has anything to say."""
        self.read()
        while self.write():
            self.read()

    def break_off(self) -> None:
        self.session.offline("cut")
        self.server.leave(self.stream)
        self.connect()


def outcome(step: Step) -> float | type[BaseException] | None:
    """The running sum that was answered, or the kind of error; None while it is open."""
    if not step.answer.done():
        return None
    if step.answer.cancelled():
        return asyncio.CancelledError
    error = step.answer.exception()
    return float(np.asarray(step.answer.result())[-1, 0]) if error is None else type(error)


def once(code: pb.ErrorCode) -> Callable[[Row], pb.Error | None]:
    left = [pb.Error(code=code, message="once", retry_after_ms=100)]
    return lambda row: left.pop() if left else None
