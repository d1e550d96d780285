"""One connection of `headrace.v1.Sequences.Stream`: frames in, answers out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, InvalidInput
from headrace.protos import sequences_pb2 as pb

from ..commands import Barrier, Cancel, Close, Leave, Mode, Open, Step
from ..gate import Gate, weight
from ..lane import Lane
from ..models import Model, Models
from ..steps import Answer, Closed, Failed, Stepped, Steps, least, most, steps_answered
from .context import StreamContext
from .conversation import Conversation
from .frames import (
    Malformed,
    failed_rows,
    in_frames,
    placed,
    read_cancels,
    read_columns,
    read_keys,
    read_steps,
    write_reply,
)
from .keys import Keys, Route
from .names import check_id, check_name
from .sources import read_source

MODES: dict[int, Mode] = {
    pb.FRESH: Mode.FRESH,
    pb.RESUME: Mode.RESUME,
    pb.REPLACE: Mode.REPLACE,
    pb.REJOIN: Mode.REJOIN,
}


def read_mode(mode: int) -> Mode:
    """Raises InvalidInput for one that is not known here."""
    if mode not in MODES:
        known = ", ".join(f"{number} {each.name}" for number, each in MODES.items())
        raise InvalidInput(f"there is no open mode {mode}; choose one of {known}")
    return MODES[mode]


def alike(one: Model, other: Model) -> bool:
    """Whether the same columns can hold steps of both: versions of one model."""
    return (one.spec.name, one.spec.inputs) == (other.spec.name, other.spec.inputs)


class Stream(Conversation[pb.Request | Malformed]):
    """On the event loop. Mutable: `_keys`; `_outbox`, what is to be written; `_posted`, what a frame asks of the lanes.

    gate: bounds what of this connection is not settled; unwritten: the answers that wait for a slow reader.
    """

    def __init__(
        self, context: StreamContext, models: Models, gate: Gate, unwritten: int, clock: Callable[[], float]
    ) -> None:
        super().__init__(context)
        self._models, self._gate, self._unwritten, self._clock = models, gate, unwritten, clock
        self._keys = Keys()
        self._posted: Counter[tuple[Model, Lane]] = Counter()  # weight of a frame's opens, cancels and closes
        self._outbox: list[Answer] = []
        self._waiting = 0  # answers in the outbox, each row one
        self._written = asyncio.Event()

    def __repr__(self) -> str:
        return f"Stream({self._keys!r}, {self._gate!r}, waiting={self._waiting})"

    def deliver(self, answer: Answer) -> None:
        """An answer of a lane."""
        self._gate.leave(steps_answered(answer))
        if not isinstance(answer, Stepped):  # most are, and say nothing of keys
            self._keys.heard(answer)
        self._put(answer)

    @property
    def _enough(self) -> bool:
        """Who asks faster than the lanes work, or reads slowly, is not read from."""
        return self._gate.over or self._waiting > self._unwritten

    async def _room(self) -> None:
        await self._gate.room()
        while self._waiting > self._unwritten:
            self._written.clear()
            await self._written.wait()

    async def _settled(self) -> None:
        await self._gate.empty()

    @property
    def _unsaid(self) -> bool:
        return bool(self._outbox)

    def _write(self) -> None:
        if self._outbox:
            answers, self._outbox, self._waiting = self._outbox, [], 0
            for frame in in_frames(answers):
                self._say(write_reply(frame))
            self._written.set()

    def _leave(self) -> None:
        for lane, model in self._keys.lanes().items():
            model.submit(lane, Leave(self))

    def _handle(self, request: pb.Request | Malformed) -> None:
        if isinstance(request, Malformed):
            self._refuse(Failed(None, None, InvalidInput(request.reason)))
            return
        try:
            for open_ in request.opens[:]:  # as in `read_steps`
                self._open(open_)
            if request.HasField("steps"):
                self._steps(request.steps)
            if request.HasField("cancels"):
                self._cancel(*read_cancels(request.cancels))
            if request.closes:
                self._close(read_keys(request.closes))
        except InvalidInput as error:
            self._refuse(Failed(None, None, error))
        finally:
            if self._posted:
                self._follow_up()

    def _refuse(self, *answers: Failed) -> None:
        """Answers given here, to what never passed the gate."""
        for answer in answers:
            self._models.refused(answer.error)
            self._put(answer)

    def _put(self, answer: Answer) -> None:
        self._outbox.append(answer)
        self._waiting += len(answer.keys) if isinstance(answer, (Stepped, Closed)) else 1
        self._answered()

    # Opens, cancels and closes

    def _open(self, open_: pb.Open) -> None:
        try:
            name = (check_name("a tenant", open_.tenant), open_.id)
            model = self._models.find_for(open_.model, open_.version, name)
            if model.spec.stateful:
                check_id(open_.id)
            mode = read_mode(open_.mode)
            source = read_source(open_.source, model.spec)
            route = Route(model, model.lane(name) if model.spec.stateful else None)
            self._keys.claim(open_.key, route)
            self._post(model, route.pick(), Open(self, open_.key, name, mode, open_.incarnation, source))
            self._keys.asked(open_.key)
        except HeadraceError as error:
            self._refuse(Failed(open_.key, None, error))

    def _cancel(self, keys: NDArray[np.uint32], positions: NDArray[np.int64]) -> None:
        codes = self._keys.lookup(keys)
        for code in set(codes[codes >= 0].tolist()):
            chosen, route = codes == code, self._keys.route(code)
            if route.lane is not None:  # rows of models without states are not cancelled
                self._post(route.model, route.lane, Cancel(self, keys[chosen], positions[chosen]))

    def _close(self, keys: NDArray[np.uint32]) -> None:
        codes = self._keys.lookup(keys)
        self._refuse(*(Failed(key, None, self._keys.why(key)) for key in keys[codes < 0].tolist()))
        for code in set(codes[codes >= 0].tolist()):
            route, closed = self._keys.route(code), tuple(keys[codes == code].tolist())
            if route.lane is None:
                self._keys.close(closed)
            self._post(route.model, route.pick(), Close(self, closed))

    def _post(self, model: Model, lane: Lane, command: Open | Cancel | Close) -> None:
        """Counts until the lane has handled it. Never refused for this connection's bound: `_room` waits instead."""
        model.submit(lane, command)
        self._gate.pass_through(weight(command))
        self._posted[model, lane] += weight(command)

    def _follow_up(self) -> None:
        """After a frame: asks each lane to say when it has handled what was posted."""
        posted, self._posted = self._posted, Counter()
        for (model, lane), count in posted.items():
            handled = partial(self._handled, model, count)
            model.submit(lane, Barrier(partial(self._loop.call_soon_threadsafe, handled)))

    def _handled(self, model: Model, count: int) -> None:
        self._gate.leave(count)
        model.handled(count)

    # Steps

    def _steps(self, steps: pb.Steps) -> None:
        columns = read_columns(steps)
        if not len(columns.keys):
            return
        codes = self._keys.lookup(columns.keys)
        lowest, highest = least(codes), most(codes)
        if lowest < 0:
            self._unopened(columns.keys[codes < 0], columns.positions[codes < 0])
            if highest < 0:
                return
        model = self._keys.route(highest).model
        try:
            rows = read_steps(steps, columns, model.spec, self, self._clock())
        except InvalidInput as error:
            self._refuse(*failed_rows(columns.keys[codes >= 0], columns.positions[codes >= 0], error))
            return
        if lowest == highest:  # as most frames: all its rows go one way
            self._submit(self._keys.route(highest), model, rows)
            return
        for code in range(highest + 1):
            self._submit(self._keys.route(code), model, rows.take(codes == code))

    def _submit(self, route: Route, model: Model, steps: Steps) -> None:
        if len(steps) and route.lane is not None:
            steps, wrong = placed(steps)
            self._refuse(*wrong)
        if not len(steps):
            return
        try:
            if route.model is not model and not alike(route.model, model):
                raise InvalidInput(f"a frame has steps of one model; this one has some of {model.spec.name} too")
            self._enter(route, Step(steps))
        except HeadraceError as error:
            self._refuse(*failed_rows(steps.keys, steps.positions, error))

    def _enter(self, route: Route, step: Step) -> None:
        """Counts until its rows are answered. Raises as `Model.submit` does, without effect."""
        rows = len(step.steps)
        self._gate.enter(rows)
        try:
            route.model.submit(route.pick(), step)
        except HeadraceError:
            self._gate.leave(rows)
            raise

    def _unopened(self, keys: NDArray[np.uint32], positions: NDArray[np.int64]) -> None:
        for key, position in zip(keys.tolist(), positions.tolist(), strict=True):
            self._refuse(Failed(key, position, self._keys.why(key)))
