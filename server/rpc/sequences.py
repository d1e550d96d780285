"""The service `headrace.v1.Sequences`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from headrace.protos import sequences_pb2 as pb

from ..gate import Gate
from ..models import Models
from .context import Context, Requests, StreamContext
from .errors import abort, our_fault
from .fork import fork
from .frames import Malformed
from .generate import GenerateCalls
from .stream import Stream

SERVICE = "headrace.v1.Sequences"

M = TypeVar("M", bound=Message)


class SequencesService:
    """Handles calls on the event loop. Mutable: `_streams`, the connections that are open."""

    def __init__(self, models: Models, connection_rows: int, frame_bytes: int, clock: Callable[[], float]) -> None:
        self._models, self._connection_rows, self._frame_bytes, self._clock = (
            models,
            connection_rows,
            frame_bytes,
            clock,
        )
        self._streams: set[Stream] = set()
        self._generate = GenerateCalls(models, clock)

    def handler(self) -> grpc.GenericRpcHandler:
        """For `transport.listen`."""
        unary, streamed = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        frames, asked = partial(self._decode, pb.Request), partial(self._decode, pb.GenerateRequest)
        forked = partial(self._decode, pb.ForkRequest)
        calls = {
            "Stream": grpc.stream_stream_rpc_method_handler(self._stream, frames, pb.Reply.SerializeToString),
            "Generate": streamed(self._generate.handle, asked, pb.GenerateReply.SerializeToString),
            "Fork": unary(self._fork, forked, pb.ForkReply.SerializeToString),
            "Models": unary(self._list, pb.ModelsRequest.FromString, pb.ModelsReply.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(SERVICE, calls)

    def finish(self) -> None:
        """Every stream, and every call for texts, writes what is answered, and ends."""
        self._generate.finish()
        for stream in self._streams:
            stream.finish()

    def _decode(self, kind: type[M], message: bytes) -> M | Malformed:
        """What is none is told to the client in words; an exception here would end its call without."""
        if len(message) > self._frame_bytes:
            return Malformed(
                f"a message of {len(message)} bytes is over the limit of {self._frame_bytes}; send fewer rows in each"
            )
        try:
            return kind.FromString(message)
        except DecodeError:
            return Malformed(
                f"a message of {len(message)} bytes is cut short or no {kind.DESCRIPTOR.name}; none of it was applied"
            )

    async def _stream(self, requests: Requests[pb.Request | Malformed], context: StreamContext) -> None:
        gate = Gate(self._connection_rows, "on this connection")
        stream = Stream(context, self._models, gate, self._connection_rows, self._clock)
        self._streams.add(stream)
        try:
            await stream.run(requests)
            if stream.fault is not None:
                await abort(context, our_fault(stream.fault))
            if self._models.draining:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        finally:
            self._streams.discard(stream)

    async def _fork(self, request: pb.ForkRequest | Malformed, context: Context) -> pb.ForkReply:
        return await fork(self._models, request)

    async def _list(self, request: pb.ModelsRequest, context: Context) -> pb.ModelsReply:
        reply = pb.ModelsReply(frame_bytes=self._frame_bytes, frame_rows=self._connection_rows)
        for model in self._models:
            reply.models.add(
                name=model.spec.name, version=model.version, spec=model.spec.to_json(), device=model.device
            )
        return reply
