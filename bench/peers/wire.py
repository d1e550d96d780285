"""The stock client of the Open Inference Protocol, as a load: one sequence each, one time step in a message.

One load generator for all that speak the protocol. The messages are what tritonclient writes; they are encoded once,
since a sequence sends the same values again and again, so that the generator costs little. Up to six clients share a
connection, as tritonclient's do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import randbits
from typing import Protocol

import grpc
import numpy as np

from headrace.protos import inference_pb2 as pb
from headrace.spec import ModelSpec

from ..messages import DATATYPES
from .kept import END, START

SERVICE = "/inference.GRPCInferenceService"
SHARED = 6

#: A model's spec, a sequence's id and the flags of a step → the message.
Encode = Callable[[ModelSpec, int, int], bytes]


class Talk(Protocol):
    """One client's way to its server."""

    async def ask(self, message: bytes) -> pb.ModelInferResponse:
        """Raises RuntimeError if it is refused."""
        ...

    async def end(self) -> None: ...


class Streamed:
    """ModelStreamInfer. wrapped: whether answers come in a ModelStreamInferResponse, as Triton's extension says, or
    bare, as MLServer has it."""

    def __init__(self, channel: grpc.aio.Channel, *, wrapped: bool) -> None:
        kind = pb.ModelStreamInferResponse if wrapped else pb.ModelInferResponse
        call = channel.stream_stream(f"{SERVICE}/ModelStreamInfer", response_deserializer=kind.FromString)
        self._call = call()

    async def ask(self, message: bytes) -> pb.ModelInferResponse:
        await self._call.write(message)
        answer = await self._call.read()
        if isinstance(answer, pb.ModelInferResponse):
            return answer
        if not isinstance(answer, pb.ModelStreamInferResponse):
            raise RuntimeError(f"the stream ended: {await self._call.details()}")
        if answer.error_message:
            raise RuntimeError(f"refused: {answer.error_message}")
        return answer.infer_response

    async def end(self) -> None:
        await self._call.done_writing()


class Unary:
    """ModelInfer."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = channel.unary_unary(
            f"{SERVICE}/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
        )

    async def ask(self, message: bytes) -> pb.ModelInferResponse:
        return await self._call(message)  # type: ignore[no-any-return]

    async def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StockClient:
    """One sequence. `rows` is one: a message is a step. messages: its first, all between, and its last."""

    talk: Talk
    messages: tuple[bytes, bytes, bytes]
    width: int

    @property
    def rows(self) -> int:
        return 1

    async def start(self) -> None:
        await self._ask(self.messages[0])

    async def step(self) -> float:
        """Seconds. Raises RuntimeError if the server refuses."""
        began = time.perf_counter()
        await self.answer()
        return time.perf_counter() - began

    async def answer(self) -> bytes:
        """To one step."""
        return await self._ask(self.messages[1])

    async def end(self) -> None:
        await self._ask(self.messages[2])
        await self.talk.end()

    async def _ask(self, message: bytes) -> bytes:
        """Raises RuntimeError if the answer is not one time step's: an empty one would be fast."""
        raw = b"".join((await self.talk.ask(message)).raw_output_contents)
        if len(raw) != self.width:
            raise RuntimeError(f"an answer of {len(raw)} bytes")
        return raw


@asynccontextmanager
async def clients(
    address: str, spec: ModelSpec, count: int, talk: Callable[[grpc.aio.Channel], Talk], encode: Encode
) -> AsyncIterator[list[StockClient]]:
    """So many, their sequences started; they end with the block."""
    options = [("grpc.use_local_subchannel_pool", 1)]  # else channels to one address share a connection
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(-(-count // SHARED))]
    width = sum(4 * int(np.prod(output.shape)) for output in spec.outputs)
    try:
        made = [StockClient(talk(channels[n // SHARED]), _messages(spec, encode), width) for n in range(count)]
        await asyncio.gather(*(client.start() for client in made))
        yield made
        await asyncio.gather(*(client.end() for client in made))
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


def _messages(spec: ModelSpec, encode: Encode) -> tuple[bytes, bytes, bytes]:
    """Of a sequence that nobody else has."""
    id = randbits(40) + 1
    return encode(spec, id, START), encode(spec, id, 0), encode(spec, id, END)


def by_parameters(spec: ModelSpec, id: int, flags: int) -> bytes:
    """As tritonclient writes it: the sequence in parameters of the request."""
    request = _request(spec)
    request.parameters["sequence_id"].int64_param = id
    request.parameters["sequence_start"].bool_param = bool(flags & START)
    request.parameters["sequence_end"].bool_param = bool(flags & END)
    return request.SerializeToString()


def by_tensors(spec: ModelSpec, id: int, flags: int) -> bytes:
    """For servers whose model is not shown the parameters of each request: the sequence in two more tensors."""
    request = _request(spec)
    for name, value in (("sequence", id), ("flags", flags)):
        request.inputs.add(name=name, datatype="INT64", shape=[1, 1])
        request.raw_input_contents.append(np.int64(value).tobytes())
    return request.SerializeToString()


def _request(spec: ModelSpec) -> pb.ModelInferRequest:
    """With one time step of every input, the same in all messages."""
    request, rng = pb.ModelInferRequest(model_name=spec.name), np.random.default_rng(0)
    for each in spec.inputs:
        value = each.sample(1, rng)
        request.inputs.add(name=each.name, datatype=DATATYPES[each.dtype], shape=value.shape)
        request.raw_input_contents.append(value.tobytes())
    return request
