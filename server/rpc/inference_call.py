"""One Open Inference request on its way: submitted, gathered, answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from headrace.errors import HeadraceError
from headrace.protos import inference_pb2 as pb
from headrace.ragged import token_index
from headrace.spec import Output

from ..commands import Leave
from ..models import Models
from ..steps import Answer, Array, Failed, Stepped, steps_answered
from .errors import EXPECTED_POSITION, message, milliseconds, our_fault, status
from .inference_request import Ask, understand
from .inference_tensors import encode

log = logging.getLogger(__name__)

#: A request, or why its bytes are none.
Received = pb.ModelInferRequest | HeadraceError


class Call:
    """The sink of one request's rows. Mutable: `_waiting`, the rows not answered, `_parts` and `error`.

    done: called on the event loop when the last row is answered, or the request is refused.
    """

    __slots__ = ("_ask", "_done", "_parts", "_waiting", "error", "id")

    def __init__(self, done: Callable[[Call], None]) -> None:
        self._done = done
        self._ask: Ask | None = None
        self._parts: list[Stepped] = []
        self._waiting = 0
        self.error: HeadraceError | None = None
        self.id = ""

    def __repr__(self) -> str:
        return f"Call({self.id!r}, waiting={self._waiting})"

    def submit(self, models: Models, request: Received, now: float, deadline: float) -> None:
        """Hands the rows to their lane; what is wrong with them becomes the answer. now, deadline: seconds."""
        try:
            self._submit(models, request, now, deadline)
        except HeadraceError as error:
            self._refuse(models, error)
        except Exception as error:
            log.exception("a request failed")
            self._refuse(models, our_fault(error))

    def deliver(self, answer: Answer) -> None:
        """An answer to some of the rows."""
        if isinstance(answer, Stepped):
            self._parts.append(answer)
        elif isinstance(answer, Failed):
            self.error = answer.error
        self._waiting -= steps_answered(answer)
        if not self._waiting:
            self._done(self)

    def leave(self) -> None:
        """The caller is gone: what still waits need not be computed."""
        if self._waiting and self._ask is not None:
            self._ask.model.submit(self._ask.lane, Leave(self))

    def unary(self) -> pb.ModelInferResponse:
        """The response. Raises the error of the request, or of the first row that failed."""
        if self.error is not None:
            raise self.error
        response = pb.ModelInferResponse()
        self._fill(response)
        return response

    def streamed(self) -> pb.ModelStreamInferResponse:
        """The response, or the error in band."""
        if self.error is not None:
            return refusal(self.id, self.error)
        response = pb.ModelStreamInferResponse()
        self._fill(response.infer_response)
        return response

    def _submit(self, models: Models, request: Received, now: float, deadline: float) -> None:
        if isinstance(request, HeadraceError):
            raise request
        self.id = request.id
        ask = self._ask = understand(models, request)
        self._waiting = len(ask.packed.lengths)
        ask.model.submit(ask.lane, ask.command(self, now, deadline))

    def _refuse(self, models: Models, error: HeadraceError) -> None:
        models.refused(error)
        self.error, self._waiting = error, 0
        self._done(self)

    def _fill(self, response: pb.ModelInferResponse) -> None:
        assert self._ask is not None, "only an answered call has a response"
        ask, spec = self._ask, self._ask.model.spec
        response.model_name, response.model_version, response.id = spec.name, ask.model.version, self.id
        outputs = joined(self._parts, spec.outputs)
        for index in ask.outputs:
            encode(response, spec.outputs[index], outputs[index], ask.packed)


def joined(parts: Sequence[Stepped], outputs: Sequence[Output]) -> tuple[Array, ...]:
    """The outputs of all rows in the order of their keys: [tokens, ...], or [rows, ...] without time axis."""
    if len(parts) == 1 and len(parts[0].keys) == 1:
        return parts[0].outputs
    order = np.argsort(np.concatenate([part.keys for part in parts]))
    tokens = token_index(np.concatenate([part.lengths for part in parts]), order)
    columns = zip(*(part.outputs for part in parts), strict=True)
    joins = zip(columns, outputs, strict=True)
    return tuple(np.concatenate(cells)[tokens if output.time else order] for cells, output in joins)


def refusal(request: str, error: HeadraceError) -> pb.ModelStreamInferResponse:
    """An error in band: the stock response has only a sentence, so the rest goes into parameters."""
    response = pb.ModelStreamInferResponse(error_message=message(error))
    response.infer_response.id = request
    parameters = response.infer_response.parameters
    parameters["headrace_status"].string_param = status(error).name
    if error.expected_position is not None:
        parameters[EXPECTED_POSITION.replace("-", "_")].int64_param = error.expected_position
    if error.retry_after is not None:
        parameters["headrace_retry_after_ms"].int64_param = milliseconds(error.retry_after)
    return response
