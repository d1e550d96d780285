"""The stock client, run as `python -m tests.server.rpc.stock_client PORT`: prints what it was answered, as JSON.

A process of its own, because its protocol definitions and ours bear the same names and cannot be loaded together.
"""

from __future__ import annotations

import json
import sys
from queue import Queue
from typing import Any

import numpy as np
import tritonclient.grpc as stock
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from .fields import fields

STEPS, TIME = 20, 3


def chunk(sequence: int, number: int) -> np.ndarray:
    """[TIME, 2] of whole numbers, so that sums are exact."""
    return np.full((TIME, 2), 100 * sequence + number, np.float32)


def tensor(values: np.ndarray, name: str = "x", datatype: str = "FP32") -> list[stock.InferInput]:
    given = stock.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return [given]


def interleaved(client: stock.InferenceServerClient) -> dict[str, list[Any]]:
    """Two sequences in one stream, all sent before any answer is read: id → its `last` outputs as they arrived."""
    answers: Queue[Any] = Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    ids: tuple[int | str, ...] = (7, "7")
    for number in range(STEPS):
        for sequence, name in enumerate(ids):
            client.async_stream_infer(
                "sum",
                tensor(chunk(sequence, number)),
                request_id=f"{type(name).__name__} {number}",
                sequence_id=name,
                sequence_start=number == 0,
                sequence_end=number == STEPS - 1,
            )
    got: dict[str, list[Any]] = {"int": [], "str": []}
    for _ in range(2 * STEPS):
        result, error = answers.get(timeout=10)
        assert error is None, error
        kind, number = result.get_response().id.split()
        got[kind].append([int(number), result.as_numpy("last")[0, 0].item()])
    client.stop_stream()
    return got


def stream_survives(client: stock.InferenceServerClient) -> list[str]:
    """A step without start, and one with."""
    answers: Queue[Any] = Queue()
    client.start_stream(lambda result, error: answers.put("" if error is None else error.message()))
    client.async_stream_infer("sum", tensor(chunk(0, 1)), sequence_id=99)
    client.async_stream_infer("sum", tensor(chunk(0, 1)), sequence_id=99, sequence_start=True)
    heard = [answers.get(timeout=10) for _ in range(2)]
    client.stop_stream()
    return heard


def errors(client: stock.InferenceServerClient) -> dict[str, str]:
    """Mistake → the status that it was answered with."""
    x, started = chunk(0, 1), {"sequence_id": 5, "sequence_start": True}
    mistakes: dict[str, dict[str, Any]] = {
        "no id": {"inputs": tensor(x)},
        "no start": {"inputs": tensor(x), "sequence_id": 1234},
        "batch": {"inputs": tensor(np.stack([x, x])), **started},
        "shape": {"inputs": tensor(x[:, :1].copy()), **started},
        "dtype": {"inputs": tensor(x.astype(np.int64), datatype="INT64"), **started},
        "name": {"inputs": tensor(x, name="z"), **started},
        "output": {"inputs": tensor(x), "outputs": [stock.InferRequestedOutput("z")], **started},
        "version": {"inputs": tensor(x), "model_version": "9", **started},
        "model": {"inputs": tensor(x), "model_name": "none", **started},
    }
    return {what: status(client, **{"model_name": "sum", **mistake}) for what, mistake in mistakes.items()}


def status(client: stock.InferenceServerClient, **arguments: Any) -> str:
    try:
        client.infer(**arguments)
    except InferenceServerException as error:
        return str(error.status()).removeprefix("StatusCode.")
    return "OK"


def unary(client: stock.InferenceServerClient) -> list[float]:
    """START, a step, START again without END, a step."""
    return [
        client.infer("sum", tensor(chunk(0, 1)[None]), sequence_id=3, sequence_start=start)
        .as_numpy("y")[0, -1, 0]
        .item()
        for start in (True, False, True, False)
    ]


def padded(client: stock.InferenceServerClient) -> list[Any]:
    """Two rows of a stateless model, padded."""
    x = np.stack([chunk(0, 1), chunk(0, 2)])
    inputs = tensor(x) + tensor(np.array([3, 1]), "lengths", "INT64")
    result = client.infer("stateless-sum", inputs)
    return [result.as_numpy("y")[:, :, 0].tolist(), result.as_numpy("last")[:, 0].tolist()]


def main(port: str) -> dict[str, Any]:
    with stock.InferenceServerClient(f"127.0.0.1:{port}") as client:
        return {
            "live": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("sum")],
            "about": [client.get_server_metadata().name, client.get_model_metadata("sum").inputs[0].name],
            "interleaved": interleaved(client),
            "survives": stream_survives(client),
            "errors": errors(client),
            "unary": unary(client),
            "padded": padded(client),
            "fields": fields(service_pb2.DESCRIPTOR.message_types_by_name.values()),
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
