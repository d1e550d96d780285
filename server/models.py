"""The models that are served: which there are, who may enter, and which lane a sequence lives in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zlib import crc32

from headrace.errors import HeadraceError, Unavailable, UnknownModel
from headrace.spec import ModelSpec

from .alone import Alone
from .commands import Command, Fork, Generate, NamedSteps, Open, Step
from .device import Device
from .gate import Gate, weight
from .lane import Lane
from .sequences import Name
from .steps import Answers, steps_answered

#: Commands that ask for work; the others end it.
WORK = (Step, NamedSteps, Open, Fork, Generate)

#: Characters of a client's name in a message: what it sent may be as large as a frame.
LONGEST_NAME = 128

#: Parts an id: what stands before the first one decides the lane, so that a sequence's forks find it in their own.
MARK = "~"


class Model:
    """One version of a model. Used on the event loop alone; the lanes answer through `deliver`.

    alone: what all models of a server share, in which whoever posts is noted.
    """

    def __init__(self, spec: ModelSpec, version: str, device: Device, gate: Gate, alone: Alone) -> None:
        self.spec, self.version, self.device = spec, version, device
        self.lanes: tuple[Lane, ...] = ()
        self._gate, self._alone = gate, alone
        self._alone.gates.append(gate)
        self._lends = spec.stateful and not spec.caches and device == "CPU"
        self._next = 0
        self.draining = False

    def __repr__(self) -> str:
        return f"Model({self.spec.name}/{self.version}, lanes={len(self.lanes)}, {self._gate!r})"

    @property
    def ready(self) -> bool:
        """Whether new work is taken: not while draining, and not once a fault has broken a lane."""
        return not self.draining and not any(lane.broken for lane in self.lanes)

    def lane(self, name: Name | None) -> Lane:
        """The lane of a sequence, the same in every process; without a sequence (stateless) each lane in turn."""
        if name is None:
            self._next += 1
            return self.lanes[self._next % len(self.lanes)]
        tenant, id = name
        return self.lanes[crc32(f"{tenant}\0{root(id)}".encode()) % len(self.lanes)]

    def holds(self, name: Name) -> bool:
        """Whether the sequence is live here. A look from outside its thread: true a moment ago."""
        return name in self.lane(name).state.sequences.names

    def submit(self, lane: Lane, command: Command) -> None:
        """The one way into a lane. Steps count until they are answered, all else that counts until it is `handled`.

        Raises at once, without effect, for what asks for work: Overloaded or Unavailable, or InvalidInput for more rows
        than may ever be queued. What ends work always passes.
        """
        if isinstance(command, WORK):
            self.enter(weight(command))
        else:
            self._gate.pass_through(weight(command))
        self.post(lane, command)

    def post(self, lane: Lane, command: Command) -> None:
        """What has entered goes to its lane. A small step of a caller who is alone is run at once, on this thread, and
        answered before this returns: so a caller does his books first."""
        if self._alone.posts(command) and self._lends and lane.brief:
            lane.lend(command)
        else:
            lane.post(command)

    def enter(self, steps: int) -> None:
        """Counts what will be posted to lanes soon, as `submit` does what it posts; raises as it does."""
        if self.draining:
            raise Unavailable("the server is shutting down; go on with another replica", retry_after=1.0)
        self._gate.enter(steps)

    def handled(self, weight: int) -> None:
        """What had that weight was handled: its caller learnt it by a Barrier or, of texts, by their endings."""
        self._gate.leave(weight)

    async def answered(self) -> None:
        """Returns when no admitted row waits for its answer, and every other command is handled."""
        await self._gate.empty()

    def deliver(self, answers: Answers) -> None:
        """Answers of a lane, on the event loop."""
        self._gate.leave(sum([steps_answered(answer) for _, answer in answers]))
        for sink, answer in answers:
            sink.deliver(answer)


def root(id: str) -> str:
    """What all forks of a sequence, and their forks, share of its id."""
    return id.partition(MARK)[0]


def shortened(name: str) -> str:
    """A client's own word, for a message: quoted, and no longer than names are."""
    return repr(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")


class Models:
    """All served versions of all models, newest last.

    refused: told of each open and step that was refused before it reached a lane.
    """

    def __init__(self, models: list[Model], refused: Callable[[HeadraceError], None] = lambda error: None) -> None:
        self.refused = refused
        self._versions: dict[str, dict[str, Model]] = {}
        for model in sorted(models, key=lambda m: _age(m.version)):
            self._versions.setdefault(model.spec.name, {})[model.version] = model
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether every model takes new work."""
        return not self.draining and all(model.ready for model in self)

    def __iter__(self) -> Iterator[Model]:
        return (model for versions in self._versions.values() for model in versions.values())

    def __repr__(self) -> str:
        return f"Models({', '.join(f'{m.spec.name}/{m.version}' for m in self)})"

    def find(self, name: str, version: str = "") -> Model:
        """That version, or the newest. Raises UnknownModel, which names what there is."""
        versions = self._versions.get(name)
        if versions is None:
            raise UnknownModel(
                f"no model {shortened(name)} is served here; there are: {', '.join(sorted(self._versions))}"
            )
        if version and version not in versions:
            raise UnknownModel(f"model {name!r} has no version {shortened(version)}; there are: {', '.join(versions)}")
        return versions[version] if version else next(reversed(versions.values()))

    def versions(self, name: str) -> list[str]:
        """Of a model that is served, oldest first."""
        return list(self._versions[name])

    def find_for(self, name: str, version: str, sequence: Name) -> Model:
        """As `find`; but without a version, a live sequence stays with the version that it began on."""
        newest = self.find(name, version)
        if version or len(self._versions[name]) == 1:
            return newest
        older = (m for m in self._versions[name].values() if m is not newest and m.holds(sequence))
        return next(older, newest)

    async def drain(self) -> None:
        """Takes no new work from now on; returns when all that was admitted is answered."""
        self.draining = True
        for model in self:
            model.draining = True
        for model in self:
            await model.answered()

    def stop(self) -> None:
        """Ends the lanes' threads."""
        for model in self:
            for lane in model.lanes:
                lane.stop()


def _age(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdecimal() else (-1, version)
