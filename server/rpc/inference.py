"""The service `inference.GRPCInferenceService`: the Open Inference Protocol, with sequences and streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

import grpc
from google.protobuf.message import DecodeError

from headrace.errors import HeadraceError, InvalidInput, UnknownModel
from headrace.protos import inference_pb2 as pb

from ..models import Models
from .context import Context, Requests, StreamContext
from .errors import abort, our_fault
from .inference_call import Call, Desk, Received
from .inference_metadata import about_model, about_server
from .inference_stream import InferStream

SERVICE = "inference.GRPCInferenceService"


class InferenceService:
    """Handles calls on the event loop. Mutable: `_streams`, those that are open. clock: monotonic seconds."""

    def __init__(self, models: Models, clock: Callable[[], float]) -> None:
        self._models, self._clock = models, clock
        self._desk = Desk(models)
        self._server = about_server()
        self._streams: set[InferStream] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """For `transport.listen`."""
        unary, both = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        read, write = self._decode, pb.ModelInferResponse.SerializeToString
        calls = {
            "ModelInfer": unary(self._infer, read, write),
            "ModelStreamInfer": both(self._stream, read, pb.ModelStreamInferResponse.SerializeToString),
        }
        asked = {
            "ServerLive": (self._live, pb.ServerLiveRequest),
            "ServerReady": (self._ready, pb.ServerReadyRequest),
            "ModelReady": (self._model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self._about, pb.ServerMetadataRequest),
            "ModelMetadata": (self._about_model, pb.ModelMetadataRequest),
        }
        plain = {name: unary(ask, m.FromString, lambda r: r.SerializeToString()) for name, (ask, m) in asked.items()}
        return grpc.method_handlers_generic_handler(SERVICE, calls | plain)

    def finish(self) -> None:
        """Every stream answers what it has read, and ends."""
        for stream in self._streams:
            stream.finish()

    @staticmethod
    def _decode(message: bytes) -> Received:
        """What is no request is told in the response; an exception here would end the stream without a word."""
        try:
            return pb.ModelInferRequest.FromString(message)
        except DecodeError:
            return InvalidInput(f"a message of {len(message)} bytes is cut short or no ModelInferRequest")

    async def _infer(self, request: Received, context: Context) -> pb.ModelInferResponse:
        answered = asyncio.Event()
        call = Call(lambda _: answered.set())
        call.submit(self._desk, request, now := self._clock(), now + time_left(context))
        try:
            await answered.wait()
        finally:
            call.leave()
        try:
            return call.unary()
        except HeadraceError as error:
            await abort(context, error)
            raise

    async def _stream(self, requests: Requests[Received], context: StreamContext) -> None:
        deadline = self._clock() + time_left(context)

        def submit(call: Call, request: Received) -> None:
            call.submit(self._desk, request, self._clock(), deadline)

        stream = InferStream(context, submit)
        self._streams.add(stream)
        try:
            await stream.run(requests)
        finally:
            self._streams.discard(stream)
        if stream.fault is not None:
            await abort(context, our_fault(stream.fault))
        if self._models.draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; go on with another replica")

    async def _live(self, _: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _ready(self, _: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._models.ready)

    async def _model_ready(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """A model that is not served is not ready, which is no error: so stock clients can wait for it."""
        try:
            return pb.ModelReadyResponse(ready=self._models.find(request.name, request.version).ready)
        except UnknownModel:
            return pb.ModelReadyResponse(ready=False)

    async def _about(self, _: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return self._server

    async def _about_model(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        try:
            spec = self._models.find(request.name, request.version).spec
        except UnknownModel as error:
            await abort(context, error)
            raise
        versions = [model.version for model in self._models if model.spec.name == request.name]
        return about_model(spec, versions)


def time_left(context: Context) -> float:
    """Seconds until the call's deadline."""
    remaining: float | None = context.time_remaining()
    return inf if remaining is None else remaining
