"""What Triton's Python backend runs, copied into its model repository as `model.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as backend  # Triton's own
from kept import END, START, Kept  # copied beside this file


class TritonPythonModel:
    """Its name and its methods are Triton's."""

    def initialize(self, arguments: dict[str, str]) -> None:
        folder = Path(arguments["model_repository"]) / arguments["model_version"]
        self._kept = Kept(str(folder / "model.onnx"))

    def execute(self, requests: list[Any]) -> list[Any]:
        """The sequence batcher gives at most one request of a sequence at a time."""
        values = [backend.get_input_tensor_by_name(request, "values").as_numpy() for request in requests]
        ids = [request.correlation_id() for request in requests]
        answers = self._kept.step(ids, [flags(request) for request in requests], np.concatenate(values))
        return [backend.InferenceResponse([backend.Tensor("log_probabilities", row[None])]) for row in answers]


def flags(request: Any) -> int:
    given = request.flags()
    start = START if given & backend.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START else 0
    return start | (END if given & backend.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END else 0)
