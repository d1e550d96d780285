"""What PyTriton serves, and its server: `python pytriton_model.py NAME MODEL FEATURES OUTPUTS ROWS DELAY GRPC HTTP`.

A function that is called with batches, in this process; Triton's server and a process between them are started by it.
It has no sequences, so their ids and flags come as tensors beside the values.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
from kept import Kept  # found beside this file
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main(name: str, model: str, *numbers: str) -> None:
    """Until told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that what it started is stopped in its own way
    features, outputs, rows, delay, grpc, http = map(int, numbers)
    kept = Kept(model)

    def step(values: NDArray[np.float32], sequence: NDArray[np.int64], flags: NDArray[np.int64]) -> dict[str, object]:
        return {"log_probabilities": kept.step(sequence.ravel().tolist(), flags.ravel().tolist(), values)}

    given = [Tensor(name="values", dtype=np.float32, shape=(features,))]
    given += [Tensor(name=each, dtype=np.int64, shape=(1,)) for each in ("sequence", "flags")]
    answered = [Tensor(name="log_probabilities", dtype=np.float32, shape=(outputs,))]
    batching = ModelConfig(max_batch_size=rows, batcher=DynamicBatcher(max_queue_delay_microseconds=delay))
    local = {"grpc_address": "127.0.0.1", "http_address": "127.0.0.1", "allow_metrics": False}
    with Triton(config=TritonConfig(grpc_port=grpc, http_port=http, **local), workspace=Path("workspace")) as server:
        server.bind(model_name=name, infer_func=batch(step), inputs=given, outputs=answered, config=batching)
        server.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
