"""The Open Inference face on a real port: over a lane that answers as told, and requests to send to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from headrace.protos import inference_pb2 as pb
from headrace.server.alone import Alone, Brief
from headrace.server.commands import Command, Leave, NamedSteps, Step
from headrace.server.gate import Gate
from headrace.server.models import Model, Models
from headrace.server.rpc.inference import InferenceService
from headrace.server.steps import Answers, Stepped, Steps
from headrace.server.transport.listen import Transport
from headrace.spec import ModelSpec

from ..fakes import Clock
from ..listening import channel_to

DATATYPE = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}


@dataclass(eq=False)
class ScriptedLane:
    """Stands where a lane stands: remembers what is posted, answers steps by `script`, or holds them without one."""

    script: Callable[[Steps], Answers] | None = None
    posted: list[Command] = field(default_factory=list)
    deliver: Callable[[Answers], None] = lambda answers: None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False
    brief: Brief = field(default_factory=Brief)

    def post(self, command: Command) -> None:
        self.posted.append(command)
        self.arrived.set()
        if self.script is not None and isinstance(command, Step | NamedSteps):
            answers = [answer for steps in _apart(command) for answer in self.script(steps)]
            asyncio.get_running_loop().call_soon(self.deliver, answers)

    @property
    def steps(self) -> list[Steps]:
        """Those of named sequences one by one, however they were gathered."""
        return [steps for command in self.posted for steps in _apart(command)]

    async def until(self, holds: Callable[[ScriptedLane], bool]) -> None:
        """Returns once `holds` is true of what was posted."""
        while not holds(self):
            self.arrived.clear()
            await self.arrived.wait()

    @property
    def left(self) -> list[tuple[object, int]]:
        """Sink and key of each row whose caller is gone; of a connection, which leaves as a whole, key -1."""
        gone = [command for command in self.posted if isinstance(command, Leave)]
        return [(command.sink, key) for command in gone for key in (command.keys or {-1})]


def _apart(command: Command) -> list[Steps]:
    match command:
        case NamedSteps(steps):
            return [steps.take(np.array([row])) for row in range(len(steps))]
        case Step(steps):
            return [steps]
        case _:
            return []


def place(steps: Steps) -> tuple[object, int]:
    """What one row is known by."""
    return steps.sink, int(steps.keys[0])


def echo(steps: Steps) -> Answers:
    """y is the input itself, `last` each row's last time step."""
    (x,) = steps.values
    outputs = (x, x[np.cumsum(steps.lengths) - 1])
    return [(steps.sink, Stepped(steps.keys, steps.positions, steps.lengths, outputs))]


def served(spec: ModelSpec, *lanes: Any, queued: int = 1000, version: str = "1") -> Model:
    """A model of these lanes, which answer through it."""
    model = Model(spec, version, "CPU", Gate(queued, "for this model"), Alone())
    model.lanes = lanes
    for lane in lanes:
        lane.deliver = model.deliver
    return model


def serving(service: InferenceService, transport: Transport = "auto") -> AbstractAsyncContextManager[grpc.aio.Channel]:
    """A channel to the service."""
    return channel_to(service.handler(), transport=transport)


def with_models(
    check: Callable[[grpc.aio.Channel], Any],
    *models: Model,
    clock: Callable[[], float] | None = None,
) -> None:
    """Runs `check` against a server of these models."""

    async def main() -> None:
        service = InferenceService(Models(list(models)), clock or Clock())
        async with serving(service) as channel:
            await check(channel)

    asyncio.run(asyncio.wait_for(main(), 20))


async def ask(channel: grpc.aio.Channel, method: str, request: Any, response: type, **options: Any) -> Any:
    """One unary call."""
    path = f"/inference.GRPCInferenceService/{method}"
    call = channel.unary_unary(path, lambda message: message.SerializeToString(), response.FromString)
    return await call(request, **options)


async def infer(channel: grpc.aio.Channel, request: pb.ModelInferRequest, **options: Any) -> pb.ModelInferResponse:
    return await ask(channel, "ModelInfer", request, pb.ModelInferResponse, **options)


def stream(channel: grpc.aio.Channel, requests: AsyncIterable[Any] | None = None) -> Any:
    """A ModelStreamInfer call; requests may be messages or bare bytes."""
    path = "/inference.GRPCInferenceService/ModelStreamInfer"
    call = channel.stream_stream(path, serialized, pb.ModelStreamInferResponse.FromString)
    return call(requests)


def serialized(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def request(model: str, x: np.ndarray | None = None, **parameters: Any) -> pb.ModelInferRequest:
    """With `x` as raw input of that name. Parameters: int → int64, str → string, bool → bool."""
    message = pb.ModelInferRequest(model_name=model)
    for name, value in parameters.items():
        set_parameter(message.parameters[name], value)
    if x is not None:
        add_input(message, "x", x)
    return message


def set_parameter(parameter: pb.InferParameter, value: Any) -> None:
    match value:
        case bool():
            parameter.bool_param = value
        case int():
            parameter.int64_param = value
        case str():
            parameter.string_param = value
        case float():
            parameter.double_param = value


def add_input(message: pb.ModelInferRequest, name: str, values: np.ndarray) -> None:
    message.inputs.add(name=name, datatype=DATATYPE[values.dtype.name], shape=values.shape)
    message.raw_input_contents.append(values.tobytes())


def tensors(response: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    """The outputs by name."""
    dtypes = {"FP32": np.float32, "INT64": np.int64}
    return {
        output.name: np.frombuffer(raw, dtypes[output.datatype]).reshape(tuple(output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
