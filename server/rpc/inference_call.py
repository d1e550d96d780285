"""One Open Inference request on its way: understood, gathered, answered."""

from __future__ import annotations

import logging
from collections.abc import Callable

from headrace.errors import HeadraceError
from headrace.protos import inference_pb2 as pb

from ..models import Models
from .errors import EXPECTED_POSITION, message, milliseconds, our_fault, status
from .inference_forms import Forms
from .inference_gather import Gatherer, Gathering
from .inference_request import Ask
from .inference_tensors import encode

log = logging.getLogger(__name__)

#: A request, or why its bytes are none.
Received = pb.ModelInferRequest | HeadraceError


class Desk:
    """What all calls of a server share: the models, the forms of requests, and the rows on their way to a lane."""

    def __init__(self, models: Models) -> None:
        self.models, self.forms, self.gatherer = models, Forms(models), Gatherer()

    def __repr__(self) -> str:
        return f"Desk({self.models!r}, {self.forms!r}, {self.gatherer!r})"


class Call:
    """Mutable: `_cells`, the answered rows; `_waiting`, how many are not answered; and `error`.

    done: called on the event loop when the last row is answered, or the request is refused.
    """

    __slots__ = ("_ask", "_cells", "_done", "_first", "_gathering", "_waiting", "error", "id")

    def __init__(self, done: Callable[[Call], None]) -> None:
        self._done = done
        self._ask: Ask | None = None
        self._gathering: Gathering | None = None  # where its rows are
        self._first = 0  # key of the first row there
        self._cells: list[tuple[bytes, ...]] = []
        self._waiting = 0
        self.error: HeadraceError | None = None
        self.id = ""

    def __repr__(self) -> str:
        return f"Call({self.id!r}, waiting={self._waiting})"

    def submit(self, desk: Desk, request: Received, now: float, deadline: float) -> None:
        """Sends the rows on their way; what is wrong with them becomes the answer. now, deadline: seconds."""
        try:
            self._submit(desk, request, now, deadline)
        except HeadraceError as error:
            self._refuse(desk.models, error)
        except Exception as error:
            log.exception("a request failed")
            self._refuse(desk.models, our_fault(error))

    def answered(self, key: int, cells: tuple[bytes, ...]) -> None:
        """One row; cells: little-endian, of each output of the spec."""
        self._cells[key - self._first] = cells
        self._settled()

    def failed(self, error: HeadraceError) -> None:
        """One row."""
        self.error = error
        self._settled()

    def leave(self) -> None:
        """The caller is gone: what still waits need not be computed."""
        if self._waiting and self._gathering is not None:
            self._gathering.leave(range(self._first, self._first + len(self._cells)))

    def unary(self) -> pb.ModelInferResponse:
        """The response. Raises the error of the request, or of the last row that failed."""
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

    def _submit(self, desk: Desk, request: Received, now: float, deadline: float) -> None:
        if isinstance(request, HeadraceError):
            raise request
        self.id = request.id
        ask = self._ask = desk.forms.understand(request)
        self._waiting = len(ask.packed.lengths)
        self._cells = [()] * self._waiting
        self._gathering, self._first = desk.gatherer.put(self, ask, now, deadline)

    def _refuse(self, models: Models, error: HeadraceError) -> None:
        models.refused(error)
        self.error, self._waiting = error, 0
        self._done(self)

    def _settled(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._done(self)

    def _fill(self, response: pb.ModelInferResponse) -> None:
        assert self._ask is not None, "only an answered call has a response"
        ask, spec = self._ask, self._ask.model.spec
        response.model_name, response.model_version, response.id = spec.name, ask.model.version, self.id
        for index in ask.outputs:
            encode(response, spec.outputs[index], [cells[index] for cells in self._cells], ask.packed)


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
