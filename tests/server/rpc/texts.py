"""Models that write, over lanes that answer as a test says; and the calls that ask them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from headrace.errors import HeadraceError
from headrace.protos import sequences_pb2 as pb
from headrace.server.commands import Barrier, Command, Generate
from headrace.server.models import Model, Models
from headrace.server.rpc.sequences import SequencesService
from headrace.server.steps import Ending, Failed, Wrote
from headrace.server.transport.listen import Transport
from headrace.spec import Cache, Chunk, Generation, Input, ModelSpec, Output, Start, State, Text

from ..fakes import Clock
from ..listening import channel_to
from .oip import ScriptedLane, served

LETTERS = ModelSpec(
    name="letters",
    inputs=(Input(name="ids", dtype="int64", vocabulary=3),),
    outputs=(Output(name="logits", dtype="float32", shape=(3,), time=True),),
    states=(State(name="s", input="s", output="s_out", dtype="float32", shape=(2,)),),
    chunk=Chunk(longest=16),
    text=Text(symbols=("a", "b", "c")),
    generation=Generation(output="logits", begin=0, end=2),
)
MUTE = LETTERS.model_copy(update={"name": "mute", "generation": None})
BARE = LETTERS.model_copy(update={"name": "bare", "text": None})
TRANSLATOR = LETTERS.model_copy(
    update={
        "name": "translator",
        "states": (),
        "caches": (Cache(name="own", heads=1, width=2), Cache(name="source", heads=1, width=2, filled=True)),
        "longest": 20,
        "start": Start(
            inputs=(Input(name="letters", dtype="int64", vocabulary=2),), longest=8, text=Text(symbols=("x", "y"))
        ),
    }
)


class WritingLane(ScriptedLane):
    """Passes barriers as soon as they come."""

    def post(self, command: Command) -> None:
        super().post(command)
        if isinstance(command, Barrier):
            command.done()

    @property
    def asked(self) -> list[Generate]:
        return [command for command in self.posted if isinstance(command, Generate)]

    def say(self, asked: Generate, *rows: tuple[int, str, Ending | None]) -> None:
        """(key, what was added, ending) of some texts, in one answer."""
        self.deliver([(asked.sink, wrote(*rows))])

    def refuse(self, asked: Generate, key: int, error: HeadraceError) -> None:
        self.deliver([(asked.sink, Failed(key, None, error))])


def wrote(*rows: tuple[int, str, Ending | None]) -> Wrote:
    """(key, what was added, ending) of some texts."""
    texts = [text for _, text, _ in rows]
    tokens = np.array([LETTERS.text.symbols.index(c) for c in "".join(texts)], np.int64)  # type: ignore[union-attr]
    lengths, keys = np.array([len(text) for text in texts]), np.array([key for key, _, _ in rows], np.uint32)
    return Wrote(keys, lengths, tokens, tuple(texts), tuple(ending for *_, ending in rows))


@asynccontextmanager
async def writing(
    *models: Model, clock: Clock | None = None, transport: Transport = "auto"
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of these models."""
    service = SequencesService(Models(list(models)), 100, 4096, clock or Clock())
    async with channel_to(service.handler(), transport=transport) as channel:
        yield channel


def writer(spec: ModelSpec = LETTERS, lanes: int = 1, queued: int = 100) -> tuple[Model, list[WritingLane]]:
    made = [WritingLane() for _ in range(lanes)]
    return served(spec, *made, queued=queued), made


def generate(
    channel: grpc.aio.Channel, prompts: Sequence[pb.Prompt], timeout: float | None = None, **fields: Any
) -> Any:
    """The call; `model` is letters and `most` 5, if nothing else is said."""
    call = channel.unary_stream(
        "/headrace.v1.Sequences/Generate", pb.GenerateRequest.SerializeToString, pb.GenerateReply.FromString
    )
    return call(pb.GenerateRequest(prompts=prompts, **{"model": "letters", "most": 5, **fields}), timeout=timeout)


async def fork(channel: grpc.aio.Channel, **fields: Any) -> pb.ForkReply:
    call = channel.unary_unary("/headrace.v1.Sequences/Fork", pb.ForkRequest.SerializeToString, pb.ForkReply.FromString)
    reply: pb.ForkReply = await call(pb.ForkRequest(**fields))
    return reply


@dataclass(frozen=True, slots=True)
class Cell:
    """What a reply says of one text."""

    prompt: int
    copy: int
    text: str
    tokens: list[int]
    ending: int
    error: pb.Error | None


def cells(*replies: pb.GenerateReply) -> list[Cell]:
    """What they say, in order."""
    return [cell for reply in replies for cell in _cells(reply)]


def _cells(reply: pb.GenerateReply) -> Iterator[Cell]:
    ends, lengths = {end.cell: end for end in reply.ends}, np.frombuffer(reply.lengths, "<i8")
    assert len(ends) == len(reply.ends) and all(cell < len(lengths) for cell in ends)
    tokens = np.split(np.frombuffer(reply.tokens, "<i8"), np.cumsum(lengths))
    assert not len(tokens.pop())
    places = np.frombuffer(reply.prompts, "<u4"), np.frombuffer(reply.copies, "<u4")
    rows = zip(*(column.tolist() for column in places), reply.texts, tokens, strict=True)
    for number, (prompt, copy, text, own) in enumerate(rows):
        end = ends.get(number, pb.GenerateReply.End())
        error = end.error if end.HasField("error") else None
        yield Cell(prompt, copy, text, own.tolist(), end.ending, error)


def merged(replies: Sequence[pb.GenerateReply]) -> dict[tuple[int, int], tuple[str, int]]:
    """(prompt, copy) → its whole text and ending."""
    found: dict[tuple[int, int], tuple[str, int]] = {}
    for cell in cells(*replies):
        text, ended = found.get((cell.prompt, cell.copy), ("", pb.NOT_ENDED))
        assert ended == pb.NOT_ENDED
        found[cell.prompt, cell.copy] = text + cell.text, cell.ending
    return found
