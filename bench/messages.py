"""One row in a message: what stock streaming clients of the Open Inference Protocol send, and what it costs.

32 clients, each with a connection, a stream and a sequence of its own, send their next request when the last is
answered. The messages are built as tritonclient's streaming client builds them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import median

import grpc
import numpy as np

from headrace.protos import inference_pb2 as pb
from headrace.spec import ModelSpec

from .connection import OPTIONS
from .figures import Figure
from .load import Cost, metered
from .server import Running
from .site import Site

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
DATATYPES = {"float32": "FP32", "int64": "INT64", "float64": "FP64", "int32": "INT32", "bool": "BOOL"}

STREAMS = 32
MOST = 1.3

Round = tuple[Cost, Cost, Cost]


class StockClient:
    """One stream, one sequence. `rows` is one: a message is a step."""

    rows = 1

    def __init__(self, address: str, spec: ModelSpec) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._call = self._channel.stream_stream(
            METHOD,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )()
        self._model, self._sequence, self._start = spec.name, secrets.randbits(62) + 1, True
        rng = np.random.default_rng(0)
        samples = [(i.name, DATATYPES[i.dtype], i.sample(1, rng)) for i in spec.inputs]
        self._inputs = [(name, datatype, value.shape, value.tobytes()) for name, datatype, value in samples]

    async def step(self) -> float:
        """Seconds. Raises RuntimeError if the server refuses."""
        began = time.perf_counter()
        await self._call.write(self.request())
        response = await self._call.read()
        if not isinstance(response, pb.ModelStreamInferResponse):
            raise RuntimeError("the server ended the stream")
        if response.error_message:
            raise RuntimeError(f"the server refused: {response.error_message}")
        return time.perf_counter() - began

    def request(self) -> pb.ModelInferRequest:
        """The sequence's next."""
        request = pb.ModelInferRequest(model_name=self._model)
        for name, datatype, shape, raw in self._inputs:
            request.inputs.add(name=name, datatype=datatype, shape=shape)
            request.raw_input_contents.append(raw)
        request.parameters["sequence_id"].int64_param = self._sequence
        request.parameters["sequence_start"].bool_param = self._start
        request.parameters["sequence_end"].bool_param = False
        self._start = False
        return request

    async def end(self) -> None:
        await self._call.done_writing()
        while await self._call.read() is not grpc.aio.EOF:
            pass

    async def cut(self) -> None:
        await self._channel.close()


@asynccontextmanager
async def stock_clients(address: str, spec: ModelSpec, count: int) -> AsyncIterator[list[StockClient]]:
    made = [StockClient(address, spec) for _ in range(count)]
    try:
        yield made
        await asyncio.gather(*(client.end() for client in made))
    finally:
        await asyncio.gather(*(client.cut() for client in made))


async def _cost(server: Running, spec: ModelSpec, seconds: float) -> Cost:
    async with stock_clients(server.address, spec, STREAMS) as made:
        return await metered(server, made, seconds)


def messages(site: Site) -> list[Figure]:
    spec = site.bare().spec
    with site.server() as server, site.echo() as echo, site.echo(tuned=True) as tuned:

        def costs() -> Round:
            ours, plain, same = (site.load(_cost(each, spec, site.seconds)) for each in (server, echo, tuned))
            return ours, plain, same

        return figures(site.repeat(costs))


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """rounds: the cost of the server, of the echo, and of the echo with one poller and uvloop."""
    ours, loads = 1e6 * median(a.outside for a, _, _ in rounds), [a.load for a, _, _ in rounds]
    echo, tuned = (1e6 * median(r[side].cpu for r in rounds) for side in (1, 2))
    rate, ms = median(load.rate for load in loads), 1e3 * median(load.percentile(50) for load in loads)
    return [
        Figure(
            f"CPU outside the runtime, one row in a message, {STREAMS} streams",
            median(a.outside / b.cpu for a, b, _ in rounds),
            "x echo",
            MOST,
            note=f"{ours:.0f} µs a message, the echo {echo:.0f}",
        ),
        Figure(
            "the same, the echo with one poller and uvloop",
            median(a.outside / c.cpu for a, _, c in rounds),
            "x echo",
            note=f"that echo {tuned:.0f} µs",
        ),
        Figure("the same load", rate, "steps/s", note=f"p50 {ms:.1f} ms; the load has one core"),
    ]
