"""`headrace.v1.Sequences.Generate`: texts, written by the lanes, streamed as they grow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf

from headrace.errors import HeadraceError, InvalidInput, Unavailable
from headrace.protos import sequences_pb2 as pb

from ..models import Model, Models
from .context import Context
from .errors import abort, our_fault
from .frames import Malformed
from .generate_request import Reader
from .inference import time_left
from .pace import Pace
from .texts import Texts

log = logging.getLogger(__name__)


class GenerateCalls:
    """Mutable: `_readers`, of each model from its first call on; `_running`, the calls that are. clock: monotonic
    seconds."""

    def __init__(self, models: Models, clock: Callable[[], float]) -> None:
        self._models, self._clock = models, clock
        self._readers: dict[Model, Reader] = {}
        self._running: set[Texts] = set()
        self._pace = Pace()

    def __repr__(self) -> str:
        return f"GenerateCalls({self._models!r})"

    def finish(self) -> None:
        """Texts that still go on end as they are: the server waits for them no longer."""
        for texts in self._running:
            texts.stop(Unavailable("the server is shutting down; go on elsewhere with what came behind the prompt"))

    async def handle(self, request: pb.GenerateRequest | Malformed, context: Context) -> None:
        """One call. What is wrong with all of it is its status; what is wrong with one text is in a reply."""
        try:
            await self._stream(request, context)
        except HeadraceError as error:
            self._models.refused(error)
            await abort(context, error)
        except Exception as error:
            if context.cancelled():  # the caller is gone: a write that found that out is no fault
                raise
            log.exception("a call for texts failed")
            await abort(context, our_fault(error))

    async def _stream(self, request: pb.GenerateRequest | Malformed, context: Context) -> None:
        if isinstance(request, Malformed):
            raise InvalidInput(request.reason)
        model, now = self._models.find(request.model, request.version), self._clock()
        texts = Texts(model)
        texts.begin(self._reader(model), request, now, now + min(_timeout(request), time_left(context)))
        self._running.add(texts)
        try:
            with self._pace.joined():
                await texts.send(context.write, self._pace)
        finally:
            self._running.discard(texts)
            texts.leave()

    def _reader(self, model: Model) -> Reader:
        if model not in self._readers:
            self._readers[model] = Reader.of(model.spec)
        return self._readers[model]


def _timeout(request: pb.GenerateRequest) -> float:
    """Seconds."""
    return request.timeout_us * 1e-6 if request.timeout_us else inf
