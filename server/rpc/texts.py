"""The texts of one call: handed to one or several lanes, gathered as they grow, and sent together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from headrace.errors import HeadraceError, InvalidInput, Overloaded
from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec

from ..commands import Generate, Prompt
from ..models import Model
from ..steps import Wrote
from ..writing.asked import refused
from .drafts import Drafts, Places
from .generate_request import Reader, copies_of, most_of, texts_of
from .pace import Pace
from .portion import Portion


class Texts:
    """The texts of one call.

    Mutable: `_drafts`; `_writing`, how many texts go on; `_fault`, what ends the call before they have ended.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._portions: list[Portion] = []
        self._drafts, self._writing = Drafts(), 0
        self._fault: HeadraceError | None = None
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"Texts({self._portions}, writing={self._writing}, {self._drafts!r})"

    def begin(self, reader: Reader, request: pb.GenerateRequest, arrived: float, deadline: float) -> None:
        """Hands the texts to the lanes. Raises InvalidInput, or as `Model.enter` does, without effect."""
        count = texts_of(request)
        if not count:
            raise InvalidInput("there is no prompt; an empty one asks for a text from the beginning")
        self._model.enter(count)
        try:
            prompts = list(reader.prompts(request))
            self._portions = self._spread([p for p in prompts if isinstance(p, Prompt)], copies_of(request))
            commands = self._commands(reader.spec, request, arrived, deadline)
        except BaseException:
            self._model.handled(count)
            raise
        self._writing = count
        self._refuse(prompts, copies_of(request))
        for portion, command in zip(self._portions, commands, strict=True):
            portion.post(command)

    def wrote(self, places: Places, wrote: Wrote) -> None:
        """What was added to some texts."""
        self._draft(partial(self._drafts.add, places, wrote))

    def failed(self, places: Places, error: HeadraceError) -> None:
        """Some texts, which have ended with it."""
        self._draft(partial(self._drafts.fail, places, error))

    def ended(self, texts: int) -> None:
        self._writing -= texts
        self._changed.set()

    def stop(self, error: HeadraceError) -> None:
        """What has come is sent, then the call ends with this error. The lanes write on for nobody: who does not read
        holds up that last reply for as long as he likes."""
        self._fault = self._fault or error
        self._changed.set()
        self.leave()

    async def send(self, write: Callable[[pb.GenerateReply], Awaitable[None]], pace: Pace) -> None:
        """What has come is written together, until all texts have ended.

        Raises Overloaded if too much is unread, or what `stop` was given.
        """
        while self._writing or self._drafts:
            await self._changed.wait()
            self._changed.clear()
            for reply in self._drafts.take():
                await write(reply)
            if self._fault is not None:
                raise self._fault
            if self._writing:
                await pace.pause()

    def leave(self) -> None:
        """The call is over: what is still written for it is dropped."""
        for portion in self._portions:
            portion.leave()

    def _commands(
        self, spec: ModelSpec, request: pb.GenerateRequest, arrived: float, deadline: float
    ) -> list[Generate]:
        """One for each portion. Raises what is wrong with all of them, so that it need not be said of each text."""
        most = most_of(request, spec)
        commands = [portion.command(request, most, arrived, deadline) for portion in self._portions]
        error = refused(spec, commands[0]) if commands else None
        if error is not None:
            raise error
        return commands

    def _refuse(self, prompts: Sequence[Prompt | HeadraceError], copies: int) -> None:
        for number, error in enumerate(prompts):
            if isinstance(error, HeadraceError):
                self._model.handled(copies)
                self.ended(copies)
                self.failed(Places.of([number], copies), error)

    def _spread(self, prompts: Sequence[Prompt], copies: int) -> list[Portion]:
        """Over the lanes in turn; all continuations of a prompt in one, where it is read once."""
        count = min(len(self._model.lanes), len(prompts))
        lanes = [self._model.lane(None) for _ in range(count)]
        parts = [tuple(prompts[turn::count]) for turn in range(count)]
        return [Portion(self, self._model, lane, part, copies) for lane, part in zip(lanes, parts, strict=True)]

    def _draft(self, add: Callable[[], None]) -> None:
        if self._fault is None:
            try:
                add()
            except Overloaded as error:
                self.stop(error)
            self._changed.set()
