"""A lane: one thread that owns one engine and the state of its sequences. Decide, run, commit, reply."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from headrace.errors import DeadlineExceeded, HeadraceError, ModelFailed, Unavailable
from headrace.spec import ModelSpec, Output

from .admission import Admission
from .batch import Batch, Outcome, assemble, blank, join
from .commands import Barrier, Cancel, Close, Command, Leave, NamedStep, NamedSteps, Open, Request, Step
from .commit import commit, roll_back
from .journal import Journal, record
from .limits import Limits
from .state import State
from .steps import NEXT, Answers, Failed, Steps, failures

log = logging.getLogger(__name__)

#: Idle sequences are looked for this often, in seconds.
EXPIRY_INTERVAL = 1.0


class Engine(Protocol):
    def run(self, batch: Batch) -> Outcome:
        """Raises ModelFailed if the runtime refuses the batch; slots that are read never change."""


class Meter(Protocol):
    """What is measured of a lane; see metrics.py."""

    def tick(
        self,
        pieces: Sequence[Steps],
        sound: NDArray[np.bool_],
        began: float,
        ran: float,
        now: float,
        compute_cpu: float,
    ) -> None: ...
    def answered(self, answers: Answers) -> None: ...
    def admitted(self, answers: Answers) -> None: ...
    def expired(self, sequences: int) -> None: ...
    def gauge(self, state: State) -> None: ...


class Lane:
    """One version of one model, on one thread. `post` may be called from any thread, all else runs on the lane's own.

    A lane that meets a fault which may have hurt its books is `broken`: it answers all that it holds, and whatever is
    posted later, with Unavailable. Mutable: the state; and, for that case, what would be lost with the stack:
    `_answers` that are not sent, `_running`, rows that have left the queue, and `_handling`, a command under way.

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
        self._answers: Answers = []
        self._running: list[Steps] = []
        self._handling: Request | None = None
        self._stopping = False
        self.broken = False
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
        """A broken lane goes on refusing until it is stopped: callers that wait for ever are worse than any error."""
        try:
            while self.admit(wait=not self.state.scheduler):
                self.tick()
        except Exception:
            log.critical("lane %s/%s is broken; restart the server", self.spec.name, self.version, exc_info=True)
            self.broken = True
            contained(self._give_up)
            while not self._stopping:
                self._refuse(self._inbox.get())

    def tick(self) -> None:
        """One turn of the loop: the central act of the server."""
        began = self._clock()
        turn = self.state.scheduler.next(began)
        self._running = [*turn.late, *turn.run]
        for late in turn.late:
            self._answers += self.state.fail(late, too_late())
        self._running = turn.run
        if turn.run:
            self._answers += self._run(turn.run, began)
        self._running = []
        self._send()

    def _run(self, pieces: list[Steps], began: float) -> Answers:
        """Run, journal, commit. What fails before the commit fails these rows alone, and the loop goes on."""
        batch = None
        try:
            batch = assemble(pieces, self.state.sequences, self.state.slots)
            outcome = run_split(self._engine, batch, self.spec.outputs)
            ran = self._clock()
            self._log(pieces, batch, outcome)
        except OSError as error:
            log.error("the journal cannot be written, so the tick is not applied: %s", error)
            return roll_back(self.state, pieces, batch, not_logged(error))
        except Exception as error:
            log.exception("the tick failed and is not applied")
            return roll_back(self.state, pieces, batch, ModelFailed(f"the step was not applied: {error}"))
        answers = commit(self.state, pieces, batch, outcome, self._clock())
        contained(lambda: self._meter.tick(pieces, outcome.sound, began, ran, self._clock(), outcome.compute_cpu))
        return answers

    def _log(self, pieces: list[Steps], batch: Batch, outcome: Outcome) -> None:
        """Stateless rows leave nothing behind that could be lost."""
        if self.spec.stateful and self._journal.keeps:
            entry = record((self.spec.name, self.version), self.state.sequences, pieces, batch, outcome.sound)
            if len(entry):
                self._journal.append(entry)

    def admit(self, *, wait: bool) -> bool:
        """Handles what was posted, and expiry. False when the lane is to stop.

        With `wait` it waits for a first command, but no longer than until the next look for idle sequences.
        """
        for command in self._posted(wait=wait):
            self._handle(command)
        self._answers += self._expired()
        contained(lambda: self._meter.admitted(self._answers))
        self._send()
        self._pass_barriers()
        contained(lambda: self._meter.gauge(self.state))
        return not self._stopping

    def _give_up(self) -> None:
        """Whoever waits for a row of a broken lane, or owns a sequence, is told."""
        held = [*self._running, *self.state.scheduler.withdraw_all()]
        self._answers += [answer for steps in held for answer in failures(steps, out_of_order())]
        self._answers += untold(self._handling, self._answers)
        self._answers += [(owner, Failed(key, None, out_of_order())) for owner, key in self.state.sequences.owners()]
        contained(self._send)
        self._pass_barriers()

    def _refuse(self, command: Command | None) -> None:
        """What a broken lane says to whatever is posted."""
        if command is None:
            self._stopping = True
        elif isinstance(command, Barrier):
            contained(command.done)
        else:
            self._answers = unanswered(command, out_of_order())
            contained(self._send)

    def _pass_barriers(self) -> None:
        for barrier in self._barriers:
            contained(barrier.done)
        self._barriers.clear()

    def _posted(self, *, wait: bool) -> Iterator[Command | None]:
        try:
            if wait:
                yield self._inbox.get(timeout=max(0.0, self._expire_at - self._clock()))
            while True:
                yield self._inbox.get_nowait()
        except Empty:
            return

    def _handle(self, command: Command | None) -> None:
        if command is None:
            self._stopping = True
        elif isinstance(command, Barrier):
            self._barriers.append(command)
        else:
            self._handling = command
            self._answers += self._admission.handle(command, self._clock())
            self._handling = None

    def _expired(self) -> Answers:
        now = self._clock()
        if now < self._expire_at:
            return []
        self._expire_at = now + EXPIRY_INTERVAL
        live = len(self.state.sequences)
        answers = self._admission.expire(now)
        contained(lambda: self._meter.expired(live - len(self.state.sequences)))
        return answers

    def _send(self) -> None:
        answers, self._answers = self._answers, []
        if answers:
            contained(lambda: self._meter.answered(answers))
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


def contained(act: Callable[[], object]) -> None:
    """What is not worth a lane: its failure is logged, and no more."""
    try:
        act()
    except Exception:
        log.exception("the lane goes on without this")


def untold(command: Request | None, answers: Answers) -> Answers:
    """Of a command that broke the lane half way: its rows that are not among the answers to all others."""
    if command is None:
        return []
    told = {(sink, a.key, p) for sink, a in answers if isinstance(a, Failed) for p in (a.position, NEXT)}
    return [
        (sink, answer)
        for sink, answer in unanswered(command, out_of_order())
        if isinstance(answer, Failed) and (sink, answer.key, answer.position) not in told
    ]


def unanswered(command: Request, error: HeadraceError) -> Answers:
    """What the caller of a command hears if nothing else can be said."""
    match command:
        case Step(steps) | NamedStep(steps) | NamedSteps(steps):
            return failures(steps, error)
        case Open():
            return [(command.sink, Failed(command.key, None, error))]
        case Close():
            return [(command.sink, Failed(key, None, error)) for key in command.keys]
        case Cancel() | Leave():
            return []
        case _:
            assert_never(command)


def out_of_order() -> HeadraceError:
    return Unavailable("a fault stopped this model on this server; go on with another replica", retry_after=1.0)


def too_late() -> HeadraceError:
    return DeadlineExceeded("the step's time ran out before it was computed; nothing was applied, give it more time")


def not_logged(error: OSError) -> HeadraceError:
    message = f"the step was not applied: the journal cannot be written ({error}); send it again"
    return Unavailable(message, retry_after=0.5)
