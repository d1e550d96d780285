"""One connection of `headrace.v1.Sequences.Stream`: frames in, answers out, gathered while a write is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, InvalidInput
from headrace.protos import sequences_pb2 as pb

from ..commands import Barrier, Cancel, Close, Leave, Mode, Open, Step
from ..handles import Handles, why
from ..lane import Lane
from ..models import Gate, Model, Models
from ..steps import Answer, Failed, Steps, steps_answered
from .frames import (
    Columns,
    Malformed,
    failed_rows,
    in_frames,
    read_cancels,
    read_columns,
    read_keys,
    read_steps,
    write_reply,
)

MODES = {
    pb.FRESH: Mode.FRESH,
    pb.RESUME: Mode.RESUME,
    pb.REPLACE: Mode.REPLACE,
    pb.REJOIN: Mode.REJOIN,
}

#: Ids are at most so long, in bytes of UTF-8.
MOST_ID_BYTES = 128


@dataclass(frozen=True, slots=True)
class Route:
    """Where the rows of a key go."""

    model: Model
    lane: Lane


class Stream:
    """Mutable: `_routes`, where the rows of each key go, and `_outbox`, what is to be written. All on the event loop.

    gate: bounds the steps of this connection that are not answered; unwritten: the answers that wait for a slow reader.
    """

    def __init__(self, models: Models, gate: Gate, unwritten: int, clock: Callable[[], float]) -> None:
        self._models, self._gate, self._unwritten, self._clock = models, gate, unwritten, clock
        self._loop = asyncio.get_running_loop()
        self._routes: list[Route] = []
        self._codes = Handles()  # key → index in _routes
        self._outbox: list[Answer] = []
        self._waiting = 0  # rows in the outbox
        self._changed, self._written = asyncio.Event(), asyncio.Event()
        self._over = False

    def deliver(self, answer: Answer) -> None:
        """An answer of a lane, or one given at the door."""
        rows = steps_answered(answer)
        self._gate.leave(rows)
        self._waiting += rows
        self._outbox.append(answer)
        self._changed.set()

    def finish(self) -> None:
        """What is answered is still written, then the stream ends."""
        self._over = True
        self._changed.set()

    async def replies(self, requests: AsyncIterable[pb.Request | Malformed]) -> AsyncIterator[pb.Reply]:
        """Reads and writes side by side, until the client is done and answered, or gone, or the server ends."""
        reader = asyncio.create_task(self._read(requests))
        try:
            while self._outbox or not self._over:
                await self._changed.wait()
                self._changed.clear()
                if self._outbox:
                    answers, self._outbox, self._waiting = self._outbox, [], 0
                    for frame in in_frames(answers):
                        yield write_reply(frame)
                    self._written.set()
        finally:
            reader.cancel()
            for lane in self._lanes():
                lane.post(Leave(self))

    async def _read(self, requests: AsyncIterable[pb.Request | Malformed]) -> None:
        try:
            async for request in requests:
                self._take(request)
                while self._waiting > self._unwritten:  # who reads slowly is not read from
                    self._written.clear()
                    await self._written.wait()
            await asyncio.gather(*(self._handled(lane) for lane in self._lanes()))
            await self._gate.empty()
        finally:
            self.finish()

    async def _handled(self, lane: Lane) -> None:
        """Returns when the lane has handled what this connection posted."""
        handled = asyncio.Event()
        lane.post(Barrier(lambda: self._loop.call_soon_threadsafe(handled.set)))
        await handled.wait()

    def _lanes(self) -> set[Lane]:
        return {route.lane for route in self._routes}

    def _take(self, request: pb.Request | Malformed) -> None:
        if isinstance(request, Malformed):
            self._say(Failed(None, None, InvalidInput(request.reason)))
            return
        for open_ in request.opens:
            self._open(open_)
        try:
            if request.HasField("steps"):
                self._steps(request.steps)
            if request.HasField("cancels"):
                self._cancel(*read_cancels(request.cancels))
            if request.closes:
                self._close(read_keys(request.closes))
        except InvalidInput as error:
            self._say(Failed(None, None, error))

    def _say(self, *answers: Failed) -> None:
        """Answers given here, to rows that never passed the gate."""
        for answer in answers:
            self._models.refused(answer.error)
        self._outbox += answers
        self._waiting += len(answers)
        self._changed.set()

    def _open(self, open_: pb.Open) -> None:
        try:
            name = (open_.tenant, open_.id)
            model = self._models.find_for(open_.model, open_.version, name)
            if model.spec.stateful:
                check_id(open_.id)
            route = Route(model, model.lane(name if model.spec.stateful else None))
            if route not in self._routes:
                self._routes.append(route)
            self._codes[open_.key] = self._routes.index(route)
            command = Open(self, open_.key, name, MODES.get(open_.mode, Mode.FRESH), open_.incarnation)
            model.submit(route.lane, command, 0)
        except HeadraceError as error:
            self._say(Failed(open_.key, None, error))

    def _steps(self, steps: pb.Steps) -> None:
        columns = read_columns(steps)
        codes = self._codes.lookup(columns.keys)
        if not len(codes):
            return
        if codes.min() < 0:
            self._unopened(columns, codes)
            if codes.max() < 0:
                return
        model = self._routes[int(codes.max())].model
        try:
            rows = read_steps(steps, columns, model.spec, self, self._clock())
        except InvalidInput as error:
            self._say(*failed_rows(columns.take(codes >= 0), error))
            return
        for code in range(int(codes.max()) + 1) if codes.min() != codes.max() else (int(codes[0]),):
            self._submit(self._routes[code], model, rows.take(codes == code))

    def _submit(self, route: Route, model: Model, steps: Steps) -> None:
        if not len(steps):
            return
        entered = False
        try:
            if route.model.spec.name != model.spec.name:
                raise InvalidInput(f"a frame has steps of one model; this one has some of {model.spec.name} too")
            self._gate.enter(len(steps))
            entered = True
            route.model.submit(route.lane, Step(steps), len(steps))
        except HeadraceError as error:
            if entered:
                self._gate.leave(len(steps))
            self._say(*failed_rows(Columns(steps.keys, steps.positions, steps.lengths), error))

    def _unopened(self, columns: Columns, codes: NDArray[np.int32]) -> None:
        unknown = columns.take(codes < 0)
        for key, position in zip(unknown.keys.tolist(), unknown.positions.tolist(), strict=True):
            self._say(Failed(key, position, why(self._codes[key], key)))

    def _cancel(self, keys: NDArray[np.uint32], positions: NDArray[np.int64]) -> None:
        codes = self._codes.lookup(keys)
        for code in set(codes[codes >= 0].tolist()):
            chosen = codes == code
            self._routes[code].lane.post(Cancel(self, keys[chosen], positions[chosen]))

    def _close(self, keys: NDArray[np.uint32]) -> None:
        codes = self._codes.lookup(keys)
        for key in keys[codes < 0].tolist():
            self._say(Failed(key, None, why(self._codes[key], key)))
        for code in set(codes[codes >= 0].tolist()):
            self._routes[code].lane.post(Close(self, tuple(keys[codes == code].tolist())))


def check_id(id: str) -> None:
    """Raises InvalidInput for an id that is empty or too long."""
    if not 1 <= len(id.encode()) <= MOST_ID_BYTES:
        raise InvalidInput(
            f"a sequence's id has 1 to {MOST_ID_BYTES} bytes, this one has {len(id.encode())}; choose another"
        )
