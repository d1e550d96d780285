"""`headrace.v1.Sequences.Fork`: a live sequence goes on as others too."""

from __future__ import annotations

import asyncio
from functools import partial

from headrace.errors import HeadraceError, InvalidInput
from headrace.protos import sequences_pb2 as pb

from ..commands import Barrier, Fork, Leave
from ..lane import Lane
from ..models import MARK, Model, Models, root
from ..steps import Answer, Failed, Opened
from .frames import Malformed, write_error
from .names import check_id, check_name


class Forked:
    """The sink of one fork. `answers` is resolved when all of them have come."""

    def __init__(self, count: int) -> None:
        self.answers: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._count, self._come = count, list[Answer]()

    def __repr__(self) -> str:
        return f"Forked({len(self._come)} of {self._count})"

    def deliver(self, answer: Answer) -> None:
        self._come.append(answer)
        if len(self._come) == self._count and not self.answers.done():
            self.answers.set_result(self._come)


async def fork(models: Models, request: pb.ForkRequest | Malformed) -> pb.ForkReply:
    """Refusals are in the reply: so each has its own code."""
    try:
        if isinstance(request, Malformed):
            raise InvalidInput(request.reason)
        return written(await _forked(models, request))
    except HeadraceError as error:
        models.refused(error)
        return pb.ForkReply(error=write_error(error))


async def _forked(models: Models, request: pb.ForkRequest) -> list[Answer]:
    """One for each copy. Raises HeadraceError for what does not reach a lane."""
    name = (check_name("a tenant", request.tenant), check_id(request.id))
    copies = checked(request.id, list(request.copies))
    model = models.find_for(request.model, request.version, name)
    if not model.spec.stateful:
        raise InvalidInput(f"{model.spec.name} has no state, so there is no sequence to fork")
    sink, lane = Forked(len(copies)), model.lane(name)
    names = tuple((request.tenant, copy) for copy in copies)
    model.submit(lane, Fork(sink, name, tuple(range(len(copies))), names, request.incarnation))
    try:
        return await sink.answers
    finally:
        _leave(model, lane, sink, len(copies))


def _leave(model: Model, lane: Lane, sink: Forked, count: int) -> None:
    """The new sequences have no owner from now on, and the fork does not count any more once that is handled."""
    handled = partial(asyncio.get_running_loop().call_soon_threadsafe, partial(model.handled, count))
    model.submit(lane, Leave(sink))
    model.submit(lane, Barrier(handled))


def checked(id: str, copies: list[str]) -> list[str]:
    """The ids of the copies. Raises InvalidInput if there are none, or one cannot live where its source does."""
    stem = f"{root(id)}{MARK}"
    if not copies:
        raise InvalidInput("a fork needs at least one id for a new sequence")
    for copy in copies:
        if not check_id(copy).startswith(stem):
            raise InvalidInput(f"a fork of {id!r} has an id that begins with {stem!r}; {copy!r} does not")
    return copies


def written(answers: list[Answer]) -> pb.ForkReply:
    """Where all of them stand, or the error of one: all come to be, or none."""
    reply = pb.ForkReply()
    for answer in answers:
        match answer:
            case Opened():
                reply.position, reply.version = answer.position, answer.version
            case Failed():
                return pb.ForkReply(error=write_error(answer.error))
    return reply
