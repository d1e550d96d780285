"""A lane: one thread that owns one engine and the state of its sequences. Decide, run, commit, reply."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.errors import ModelFailed
from headrace.spec import ModelSpec, Output

from .admission import MOST_EXPIRED, Admission
from .batch import Batch, Outcome, assemble, blank, join
from .commands import Barrier, Command, Open, Request, Step
from .commit import commit, roll_back
from .journal import Journal, record
from .limits import Limits
from .refusals import not_logged, out_of_order, too_late, unanswered, untold
from .state import State
from .steps import Answers, Failed, Rows, Steps, failures

log = logging.getLogger(__name__)

#: The slots that a tick has written which did not come so far.
NOTHING = np.zeros(0, np.int64)

#: Idle sequences are looked for this often, in seconds.
EXPIRY_INTERVAL = 1.0


class Engine(Protocol):
    def run(self, batch: Batch) -> Outcome:
        """Raises ModelFailed if the runtime refuses the batch; slots that are read never change."""


class Meter(Protocol):
    """What is measured of a lane; see metrics.py."""

    def watch(self, state: State) -> None: ...
    def started(self, pieces: Sequence[Steps], now: float) -> None: ...
    def ran(self, batch: Batch, seconds: float, compute_cpu: float) -> None: ...
    def settled(self, pieces: Sequence[Steps], sound: NDArray[np.bool_], now: float) -> None: ...
    def answered(self, answers: Answers) -> None: ...
    def admitted(self, answers: Answers) -> None: ...
    def expired(self, sequences: int) -> None: ...


class Lane:
    """One version of one model, on one thread. `post` may be called from any thread, all else runs on the lane's own.

    A lane that meets a fault which may have hurt its books is `broken`: it answers all that it holds, and whatever is
    posted later, with Unavailable. Mutable: the state; and, for that case, what would be lost with the stack:
    `_answers` that are not sent, `_running`, rows that have left the queue, `_handling`, a command half done, and
    `_frames`, which came one after the other and are not handled yet.

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
        self._frames: list[Step] = []
        self._stopping = False
        self.broken = False
        self._expire_at = clock() + EXPIRY_INTERVAL
        contained(lambda: meter.watch(self.state))
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
            while self.admit(wait=not self.state.busy):
                self.tick()
        except Exception:
            log.critical("lane %s/%s is broken; restart the server", self.spec.name, self.version, exc_info=True)
            self.broken = True
            contained(self._give_up)
            while not self._stopping:
                self._refuse(self._inbox.get())

    def tick(self) -> None:
        """One turn of the loop: the central act of the server."""
        began, underway = self._clock(), self.state.underway
        turn = self.state.scheduler.next(began, len(underway), underway.tokens)
        self._running = [*turn.late, *turn.run]
        contained(lambda: self._meter.started(turn.run, began))
        for late in turn.late:
            self._answers += self.state.fail(late, too_late())
        self._running = underway.enter(turn.run) if turn.long else turn.run
        if self._running or underway:
            self._answers += self._run(began)
        self._running = []
        self._send()

    def _run(self, began: float) -> Answers:
        """Run, journal, commit. What fails before the commit fails these rows alone, and the loop goes on."""
        write = NOTHING
        try:
            batch = self._assemble()
            write = batch.write
            outcome = run_split(self._engine, batch, self.spec.outputs)
            ran = self._clock()
            write, outcome = self._settle(batch, outcome)
            self._log(outcome)
        except OSError as error:
            log.error("the journal cannot be written, so the tick is not applied: %s", error)
            return roll_back(self.state, self._running, write, not_logged(error))
        except Exception as error:
            log.exception("the tick failed and is not applied")
            self._running = [*self._running, *self.state.underway.drop(self.state.slots)]
            return roll_back(self.state, self._running, write, ModelFailed(f"the step was not applied: {error}"))
        answers = commit(self.state, self._running, write, outcome, self._clock())
        contained(lambda: self._measure(batch, outcome, ran - began))
        return answers

    def _measure(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        self._meter.ran(batch, seconds, outcome.compute_cpu)
        self._meter.settled(self._running, outcome.sound, self._clock())

    def _assemble(self) -> Batch:
        if self.state.underway:
            return self.state.underway.assemble(self._running, self.state.sequences, self.state.slots)
        return assemble(self._running, self.state.sequences, self.state.slots)

    def _settle(self, batch: Batch, outcome: Outcome) -> tuple[Rows, Outcome]:
        """The written slots and the outcome of the rows that this tick ends: of all, unless long ones are under way."""
        if not self.state.underway:
            return batch.write, outcome
        self._running, write, ended = self.state.underway.advance(self._running, batch, outcome, self.state.slots)
        return write, ended

    def _log(self, outcome: Outcome) -> None:
        """Stateless rows leave nothing behind that could be lost."""
        if self.spec.stateful and self._journal.keeps and self._running:
            entry = record((self.spec.name, self.version), self.state.sequences, self._running, outcome.sound)
            if len(entry):
                self._journal.append(entry)

    def admit(self, *, wait: bool) -> bool:
        """Handles what was posted, and expiry. False when the lane is to stop.

        With `wait` it waits for a first command, but no longer than until the next look for idle sequences.
        """
        for command in self._posted(wait=wait):
            if isinstance(command, Step):
                self._frames.append(command)
            else:
                self._handle_frames()
                self._handle(command)
        self._handle_frames()
        self._answers += self._expired()
        self._send_admitted()
        self._pass_barriers()
        return not self._stopping

    def _give_up(self) -> None:
        """Whoever waits for a row of a broken lane, or owns a sequence, is told."""
        held = [*self._running, *self.state.underway.drop(self.state.slots), *self.state.scheduler.withdraw_all()]
        self._answers += [answer for steps in held for answer in failures(steps, out_of_order())]
        for command in (self._handling, *self._frames):
            self._answers += untold(command, self._answers)
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
            while not self._inbox.empty():
                yield self._inbox.get_nowait()
        except Empty:
            return

    def _handle_frames(self) -> None:
        """At one go where that can be, else one after the other."""
        frames = [command.steps for command in self._frames]
        if frames and self._admission.together(frames, self._clock()):
            self._frames.clear()
        while self._frames:
            self._handle(self._frames.pop(0))

    def _handle(self, command: Command | None) -> None:
        if command is None:
            self._stopping = True
        elif isinstance(command, Barrier):
            self._barriers.append(command)
        else:
            self._handling = command
            if isinstance(command, Open):
                self._finish(command)
            self._answers += self._admission.handle(command, self._clock())
            self._handling = None

    def _finish(self, command: Open) -> None:
        """Whoever opens a sequence is told where it stands, so a step of it that is under way is awaited. What waits
        behind that step does not run: it becomes ready with the last of these ticks, and the open takes it out."""
        number = self.state.sequences.names.get(command.name)
        if number is not None and self.state.underway.holds(number):
            self._send_admitted()
            while self.state.underway.holds(number):
                self.tick()

    def _expired(self) -> Answers:
        now = self._clock()
        if now < self._expire_at:
            return []
        live = len(self.state.sequences)
        answers = self._admission.expire(now)
        gone = live - len(self.state.sequences)
        self._expire_at = now + (EXPIRY_INTERVAL if gone < MOST_EXPIRED else 0.0)
        contained(lambda: self._meter.expired(gone))
        return answers

    def _send_admitted(self) -> None:
        if self._answers:
            contained(lambda: self._meter.admitted(self._answers))
            self._send()

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
