"""What MLServer runs. It has no sequences, so their ids and flags come as tensors beside the values.

Its batcher merges requests along the first axis of their tensors, without asking which belong together; two steps of
one sequence are never in one batch, since a client waits for its answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
from kept import Kept  # found beside this file
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class KeptModel(MLModel):  # type: ignore[misc]
    """Its methods are MLServer's."""

    async def load(self) -> bool:
        self._kept = Kept(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        columns = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        ids, flags = columns["sequence"].ravel().tolist(), columns["flags"].ravel().tolist()
        answers = self._kept.step(ids, flags, columns["values"].astype(np.float32, copy=False))
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("log_probabilities", answers)], id=payload.id
        )

    async def predict_stream(self, payloads: AsyncIterator[InferenceRequest]) -> AsyncIterator[InferenceResponse]:
        async for payload in payloads:
            yield await self.predict(payload)
