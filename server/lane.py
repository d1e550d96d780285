"""A lane: one engine and the state of its sequences, which one thread at a time drives. Decide, run, commit, reply."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from threading import Thread

from headrace.spec import ModelSpec

from .admission import Admission
from .alone import Brief
from .batch import Batch, Outcome
from .commands import Barrier, Command, Fork, Generate, Leave, Open, Request, Step
from .expiry import Expiry
from .journal import Journal
from .limits import Limits
from .meter import Meter, contained
from .onward import PORTION, Onward
from .refusals import out_of_order, too_late, unanswered, untold
from .scheduler import Turn
from .sequences import Name
from .state import State
from .steps import Answers, Failed, failures, single
from .straight import go_on
from .turns import Turns
from .work import Engine, Work
from .writing.writers import Writers

log = logging.getLogger(__name__)


class Lane:
    """One version of one model. `post` and `lend` may be called from any thread, all else is for who has the lane: its
    own thread, or for one turn who lends it his (turns.py).

    A lane that meets a fault which may have hurt its books is `broken`: it answers all that it holds, and whatever is
    posted later, with Unavailable. Mutable: the state; and, for that case, what would be lost with the stack:
    `_answers` that are not sent, the work's rows, which have left the queue, `_handling`, a command half done, and
    `_frames`, which came one after the other and are not handled yet. `_writing`: there may be texts;
    `_texts_due`: some were asked for, or dropped.

    reply: takes the answers of a tick; called by who has the lane, once for each tick.
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
        self._journal, self._meter, self._reply, self._clock = journal, meter, reply, clock
        self._admission = Admission(spec, version, self.state, limits.idle)
        self._work = Work(spec, version, self.state, engine, journal, clock, self._measure)
        self._writers = Writers(spec, max(limits.rows, limits.most_rows))
        self.turns, self.brief = Turns(), Brief(never=journal.keeps)
        self._expiry = Expiry(self._admission, meter, clock())
        self._barriers: list[Barrier] = []
        self._answers: Answers = []
        self._handling: Request | None = None
        self._frames: list[Step] = []
        self._writing = self._texts_due = False
        self._stopping = False
        self.broken = False
        contained(meter.watch, self.state, self._writers)
        self._thread = Thread(target=self._loop, name=f"lane {spec.name}/{version}", daemon=True)

    def __repr__(self) -> str:
        return f"Lane({self.spec.name}/{self.version}, {self.state.sequences!r}, {self.state.scheduler!r})"

    def start(self) -> None:
        self._thread.start()

    def post(self, command: Command) -> None:
        self.turns.post(command)

    def lend(self, command: Command) -> None:
        """As `post`; but if the lane's thread is at rest the command's turn is taken here and now, by the caller's."""
        if self.turns.borrow(command):
            try:
                self._turn(lent=True)
            finally:
                self.turns.give_back(more=self.broken or self._stopping or self.state.busy)

    def stop(self) -> None:
        """Ends the loop after what was posted before; returns when the thread is gone."""
        self.turns.post(None)
        self._thread.join()

    def _loop(self) -> None:
        """A broken lane goes on refusing until it is stopped: callers that wait for ever are worse than any error."""
        self.turns.own()
        while self._turn(lent=False):
            pass
        while not self._stopping:
            self.turns.rest(None)
            for command in self.turns.take():
                self._refuse(command)

    def _turn(self, *, lent: bool) -> bool:
        """False when the lane is to stop, or is broken. One that is lent neither waits nor looks for idle sequences."""
        try:
            if not self.admit(wait=not (lent or self.state.busy), look=not lent):
                return False
            self.tick()
        except Exception:
            log.critical("lane %s/%s is broken; restart the server", self.spec.name, self.version, exc_info=True)
            self.broken = True
            contained(self._give_up)
        return not self.broken

    def tick(self) -> None:
        """One turn of the loop: the central act of the server."""
        began, underway = self._clock(), self.state.underway
        if self.state.starts:
            self._answers += self._work.begin()
        turn = self.state.scheduler.next(began, len(underway), underway.tokens)
        self._work.rows = [*turn.late, *turn.run]
        contained(self._meter.started, turn.run, began)
        for late in turn.late:
            self._answers += self.state.fail(late, too_late())
        self._work.rows = underway.enter(turn.run) if turn.long else turn.run
        onward = self._onward(turn, began)
        if self._work.rows or underway:
            told = self._work.run(began, onward)  # which may send what there is so far
            self._answers += told
        self._work.rows = []
        self._write_on()
        self._send()
        if turn.run and onward is None:
            self.brief.ran(sum([piece.tokens for piece in turn.run]), self._clock() - began)

    def _onward(self, turn: Turn, began: float) -> Onward | None:
        """Where the turn holds nothing but the next tokens of texts, and nothing waits for the turn behind it."""
        state, run = self.state, turn.run
        if len(run) != 1 or run[0].sink is not self._writers or not single(run[0].lengths):
            return None
        if state.scheduler or state.underway or state.starts or self._answers:
            return None
        end = min(self._expiry.due, self._writers.soonest, began + PORTION if self._journal.keeps else inf)
        return Onward(state, self._writers, self._clock, lambda: self.turns.quiet, end, self._tell)

    def _tell(self, answers: Answers) -> None:
        """In the midst of a turn."""
        self._answers += answers
        self._send()

    def _measure(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        contained(self._meter.ran, batch, seconds, outcome.compute_cpu, outcome.calls)
        contained(self._meter.settled, self._work.rows, outcome.sound, self._clock(), outcome.calls)

    def _write_on(self) -> None:
        """What texts asked for is theirs; it makes their next steps, until none of the answers is theirs."""
        mine = self._asked_by_texts() if self._writing else []
        while mine or self._texts_due or (self._writing and self._writers.late(self._clock())):
            self._texts_due = False
            commands, told = self._writers.turn(mine, self._clock())
            self._answers += told
            for command in commands:
                if not self._goes_on(command):
                    self._do(command)
            contained(lambda: self._meter.wrote(self._writers.waited()))
            mine, self._writing = self._asked_by_texts(), bool(self._writers)

    def _goes_on(self, command: Request) -> bool:
        """Whether it was no more than the next tokens of texts, and they are queued now."""
        return isinstance(command, Step) and go_on(self.spec, self.state, command.steps, self._clock())

    def _asked_by_texts(self) -> Answers:
        """Takes the writers' own answers out of those to be sent."""
        mine: Answers = [(sink, answer) for sink, answer in self._answers if sink is self._writers]
        if mine:
            self._answers = [(sink, answer) for sink, answer in self._answers if sink is not self._writers]
        return mine

    def admit(self, *, wait: bool, look: bool = True) -> bool:
        """Handles what was posted, and with `look` expiry. False when the lane is to stop, or was broken meanwhile.

        With `wait` it waits for a first command, but no longer than until the next look for idle sequences.
        """
        if wait:
            self.turns.rest(max(0.0, self._expiry.due - self._clock()))
        if self.broken:
            return False
        for command in self.turns.take():
            if isinstance(command, Step):
                self._frames.append(command)
            else:
                self._handle_frames()
                self._handle(command)
        self._handle_frames()
        if look:
            self._answers += self._expiry.look(self._clock())
        self._write_on()
        self._work.forget()
        self._send_admitted()
        self._pass_barriers()
        return not self._stopping

    def _give_up(self) -> None:
        """Whoever waits for a row of a broken lane, or owns a sequence, is told."""
        held = [*self._work.rows, *self.state.underway.drop(self.state.slots), *self.state.scheduler.withdraw_all()]
        self._answers += [answer for steps in held for answer in failures(steps, out_of_order())]
        for command in (self._handling, *self._frames):
            self._answers += untold(command, self._answers)
        self._answers += [(owner, Failed(key, None, out_of_order())) for owner, key in self.state.sequences.owners()]
        self._answers = [(sink, answer) for sink, answer in self._answers if sink is not self._writers]
        self._answers += self._writers.give_up(out_of_order())
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
            self._do(command)
            self._handling = None

    def _do(self, command: Request) -> None:
        now = self._clock()
        match command:
            case Generate():
                self._answers += self._writers.begin(command, now)
                self._texts_due = True
                return
            case Fork():
                self._finish(command.name)
                self._answers += self._work.fork(command, now)
                return
            case Open():
                self._finish(command.name)
            case Leave():
                for dropped in self._writers.leave(command.sink):
                    self._do(dropped)
                    self._texts_due = True
            case _:
                pass
        self._answers += self._admission.handle(command, now)

    def _finish(self, name: Name) -> None:
        """Whoever opens a sequence is told where it stands, so a source of it that waits is read, and a step that is
        under way awaited. What waits behind those does not run: it becomes ready with the last of these ticks, and the
        open takes it out."""
        state, number = self.state, self.state.sequences.names.get(name)
        if number is None:
            return
        while state.starts.holds(number):
            self._answers += self._work.begin()
        if state.underway.holds(number):
            self._write_on()  # what its texts were answered is not for sending
            self._send_admitted()
            while state.underway.holds(number):
                self.tick()

    def _send_admitted(self) -> None:
        if self._answers:
            contained(self._meter.admitted, self._answers)
            self._send()

    def _send(self) -> None:
        answers, self._answers = self._answers, []
        if answers:
            contained(self._meter.answered, answers)
            self._reply(answers)
