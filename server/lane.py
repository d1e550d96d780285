"""A lane: one thread that owns one engine and the state of its sequences. Decide, run, commit, reply."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

import numpy as np

from headrace.errors import DeadlineExceeded, HeadraceError, ModelFailed, Unavailable
from headrace.spec import ModelSpec, Output

from .admission import Admission
from .batch import Batch, Outcome, assemble, blank, join
from .commands import Barrier, Command, NamedStep, Open, Step
from .commit import commit, roll_back
from .journal import Journal, Record
from .limits import Limits
from .state import State
from .steps import Answers, Failed, Steps, failures

log = logging.getLogger(__name__)

#: Idle sequences are looked for this often, in seconds.
EXPIRY_INTERVAL = 1.0


class Engine(Protocol):
    def run(self, batch: Batch) -> Outcome:
        """Raises ModelFailed if the runtime refuses the batch; slots that are read never change."""


class Meter(Protocol):
    """What is measured of a lane; see metrics.py."""

    def tick(self, pieces: Sequence[Steps], began: float, ran: float, now: float) -> None: ...
    def answered(self, answers: Answers) -> None: ...
    def gauge(self, state: State) -> None: ...


class Lane:
    """One version of one model, on one thread. `post` may be called from any thread, all else runs on the lane's own.

    reply: takes the answers of a tick; called on the lane's thread, once for each tick.
    clock: monotonic seconds.
    """

    def __init__(
        self,
        spec: ModelSpec,
        version: str,
        engine: Engine,
        journal: Journal,
        meter: Meter,
        limits: Limits,
        reply: Callable[[Answers], None],
        clock: Callable[[], float],
    ) -> None:
        self.spec, self.version, self.state = spec, version, State.empty(spec, limits)
        self._engine, self._journal, self._meter, self._reply, self._clock = engine, journal, meter, reply, clock
        self._admission = Admission(spec, version, self.state, limits.idle)
        self._inbox: SimpleQueue[Command | None] = SimpleQueue()
        self._barriers: list[Barrier] = []
        self._expire_at = clock() + EXPIRY_INTERVAL
        self._thread = Thread(target=self._loop, name=f"lane {spec.name}/{version}", daemon=True)

    def __repr__(self) -> str:
        return f"Lane({self.spec.name}/{self.version}, {self.state.sequences!r}, {self.state.scheduler!r})"

    def start(self) -> None:
        self._thread.start()

    def post(self, command: Command) -> None:
        self._inbox.put(command)

    def stop(self) -> None:
        """Ends the loop after what was posted before; returns when the thread is gone."""
        self._inbox.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while self.admit(wait=not self.state.scheduler):
            self.tick()

    def tick(self) -> None:
        """One turn of the loop: the central act of the server."""
        began = self._clock()
        turn = self.state.scheduler.next(began)
        answers = [answer for late in turn.late for answer in self.state.fail(late, too_late())]
        if turn.run:
            answers += self._run(turn.run, assemble(turn.run, self.state.sequences, self.state.slots), began)
        self._send(answers)

    def _run(self, pieces: list[Steps], batch: Batch, began: float) -> Answers:
        """Run, journal, commit. What fails before the commit fails these rows alone, and the loop goes on."""
        try:
            outcome = run_split(self._engine, batch, self.spec.outputs)
            ran = self._clock()
            self._journal.append(Record(self.spec.name, self.version, tuple(pieces)))
        except OSError as error:
            log.error("the journal cannot be written, so the tick is not applied: %s", error)
            return roll_back(self.state, pieces, batch, not_logged(error))
        except Exception as error:
            log.exception("the tick failed and is not applied")
            return roll_back(self.state, pieces, batch, ModelFailed(f"the step was not applied: {error}"))
        answers = commit(self.state, pieces, batch, outcome, self._clock())
        self._meter.tick(pieces, began, ran, self._clock())
        return answers

    def admit(self, *, wait: bool) -> bool:
        """Handles what was posted, and expiry. False when the lane is to stop.

        With `wait` it waits for a first command, but no longer than until the next look for idle sequences.
        """
        answers: Answers = []
        stop = False
        for command in self._posted(wait=wait):
            stop |= command is None
            answers += self._handle(command) if command is not None else []
        self._send(answers + self._expired())
        for barrier in self._barriers:
            barrier.done()
        self._barriers.clear()
        self._meter.gauge(self.state)
        return not stop

    def _posted(self, *, wait: bool) -> Iterator[Command | None]:
        try:
            if wait:
                yield self._inbox.get(timeout=max(0.0, self._expire_at - self._clock()))
            while True:
                yield self._inbox.get_nowait()
        except Empty:
            return

    def _handle(self, command: Command) -> Answers:
        """A fault of ours fails the command that met it, never the loop."""
        try:
            if isinstance(command, Barrier):
                self._barriers.append(command)
            return self._admission.handle(command, self._clock())
        except Exception as error:
            log.exception("a command failed")
            return unanswered(command, ModelFailed(f"the server failed on this request: {error!r}"))

    def _expired(self) -> Answers:
        now = self._clock()
        if now < self._expire_at:
            return []
        self._expire_at = now + EXPIRY_INTERVAL
        return self._admission.expire(now)

    def _send(self, answers: Answers) -> None:
        if answers:
            self._meter.answered(answers)
            self._reply(answers)


def run_split(engine: Engine, batch: Batch, outputs: Sequence[Output]) -> Outcome:
    """Runs the batch; if the runtime refuses it, its halves, until the guilty rows are alone and the others have run.

    Running a row twice does no harm: it reads one slot and writes another, and nothing is committed yet.
    """
    try:
        return engine.run(batch)
    except ModelFailed as error:
        if len(batch) == 1:
            log.warning("%s", error)
            return Outcome(blank(outputs, batch.lengths), np.zeros(1, np.bool_))
    first, second = (run_split(engine, half, outputs) for half in batch.halves())
    return join(first, second)


def unanswered(command: Command, error: HeadraceError) -> Answers:
    """What the caller of a command hears if nothing else can be said."""
    match command:
        case Step(steps) | NamedStep(steps):
            return failures(steps, error)
        case Open():
            return [(command.sink, Failed(command.key, None, error))]
        case _:
            return []


def too_late() -> HeadraceError:
    return DeadlineExceeded("the step's time ran out before it was computed; nothing was applied, give it more time")


def not_logged(error: OSError) -> HeadraceError:
    message = f"the step was not applied: the journal cannot be written ({error}); send it again"
    return Unavailable(message, retry_after=0.5)
