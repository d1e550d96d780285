"""The least that a server in Python can do with the same messages: `grpc.aio`, read and written, nothing computed.

`python -m headrace.bench.echo WIDTH`: each row's answer is WIDTH bytes. It prints its address.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

import grpc

from headrace.protos import inference_pb2 as oip
from headrace.protos import sequences_pb2 as pb

UNBOUNDED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Echo:
    """width: bytes of one row's answer."""

    def __init__(self, width: int) -> None:
        self._width = width

    async def frames(self, requests: AsyncIterator[pb.Request], context: object) -> AsyncIterator[pb.Reply]:
        async for request in requests:
            steps, keys = request.steps, len(request.steps.keys) // 4
            reply = pb.Reply(opened=[pb.Opened(key=o.key) for o in request.opens], closed=request.closes)
            if keys:
                row = {"keys": steps.keys, "positions": steps.positions, "lengths": steps.lengths}
                reply.stepped.add(**row, values=[bytes(keys * self._width)])
            yield reply

    async def messages(
        self, requests: AsyncIterator[oip.ModelInferRequest], context: object
    ) -> AsyncIterator[oip.ModelStreamInferResponse]:
        async for request in requests:
            answer = oip.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
            answer.outputs.add(name="output", datatype="FP32", shape=[1, self._width // 4])
            answer.raw_output_contents.append(bytes(self._width))
            yield oip.ModelStreamInferResponse(infer_response=answer)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        frames = grpc.stream_stream_rpc_method_handler(self.frames, pb.Request.FromString, pb.Reply.SerializeToString)
        messages = grpc.stream_stream_rpc_method_handler(
            self.messages, oip.ModelInferRequest.FromString, oip.ModelStreamInferResponse.SerializeToString
        )
        return (
            grpc.method_handlers_generic_handler("headrace.v1.Sequences", {"Stream": frames}),
            grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelStreamInfer": messages}),
        )


async def serve(width: int) -> None:
    """On a free port of loopback, until told to stop."""
    server, stop = grpc.aio.server(options=UNBOUNDED), asyncio.Event()
    server.add_generic_rpc_handlers(Echo(width).handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"echoing on 127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
