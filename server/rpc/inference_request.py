"""What an Open Inference request asks for: which rows, of which sequence, in which lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np

from headrace.errors import InvalidInput
from headrace.protos import inference_pb2 as pb

from ..lane import Lane
from ..models import Model, Models
from ..sequences import Name
from ..steps import NEXT, Array
from .inference_tensors import Packed, decode, requested
from .names import check_name

#: Integer ids begin with it, and string ids that do so get a second one: 7 is "#7", "#7" is "##7", "7" stays "7".
INTEGER = "#"


@dataclass(frozen=True, slots=True)
class Options:
    """The parameters of a request that mean something here; see inference.proto."""

    sequence: str = ""  # none
    start: bool = False
    end: bool = False
    position: int = NEXT
    tenant: str = ""
    timeout: float = inf  # seconds


class Ask(NamedTuple):
    """A request, understood and checked as far as its lane need not be asked. A tuple: one is made for each message."""

    model: Model
    lane: Lane
    name: Name | None  # of the sequence; None: stateless
    options: Options
    packed: Packed
    outputs: tuple[int, ...]  # indices into the spec's

    def again(self, values: tuple[Array, ...]) -> Ask:
        """The same with other values of the same shapes."""
        lane = self.lane if self.name is not None else self.model.lane(None)
        packed = Packed(values, self.packed.lengths, self.packed.padded)
        return Ask(self.model, lane, self.name, self.options, packed, self.outputs)


def understand(models: Models, request: pb.ModelInferRequest) -> Ask:
    """Raises UnknownModel, or InvalidInput for tensors, outputs or parameters that cannot be meant."""
    options = read_options(request)
    name = (options.tenant, options.sequence)
    model = models.find_for(request.model_name, request.model_version, name)
    spec = model.spec
    if spec.stateful and not options.sequence:
        raise InvalidInput(f"{spec.name} is stateful: set the parameter sequence_id, an integer but 0 or a string")
    named = name if spec.stateful else None
    packed, outputs = decode(spec, request), requested(spec, request)
    return Ask(model, model.lane(named), named, options, packed, outputs)


def read_options(request: pb.ModelInferRequest) -> Options:
    """Raises InvalidInput for a parameter of the wrong type or out of range."""
    given = request.parameters
    options = Options(**{field: read(key, given[key]) for key, (field, read) in FIELDS.items() if key in given})
    if options.start and options.position not in (NEXT, 0):
        raise InvalidInput("a request that starts a sequence stands at headrace_position 0; send 0, or leave it out")
    return options


def _sequence(key: str, value: pb.InferParameter) -> str:
    """ "" for none."""
    if value.HasField("string_param"):
        text = _text(key, value)
        return INTEGER + text if text.startswith(INTEGER) else text
    if value.HasField("int64_param") or value.HasField("uint64_param"):
        number = value.int64_param or value.uint64_param
        return f"{INTEGER}{number}" if number else ""
    raise InvalidInput(f"the parameter {key} must be an integer or a string")


def _text(key: str, value: pb.InferParameter) -> str:
    if not value.HasField("string_param"):
        raise InvalidInput(f"the parameter {key} must be a string")
    return check_name(f"the parameter {key}", value.string_param)


def _bool(key: str, value: pb.InferParameter) -> bool:
    if not value.HasField("bool_param"):
        raise InvalidInput(f"the parameter {key} must be a boolean")
    return value.bool_param


def _integer(key: str, value: pb.InferParameter) -> int:
    if not (value.HasField("int64_param") or value.HasField("uint64_param")) or value.int64_param < 0:
        raise InvalidInput(f"the parameter {key} must be an integer, 0 or more")
    return min(value.int64_param or value.uint64_param, np.iinfo(np.int64).max)


def _seconds(key: str, value: pb.InferParameter) -> float:
    """Of microseconds, 0 for none."""
    return _integer(key, value) / 1e6 or inf


#: Parameter → the field of the options that it sets, and how it is read.
FIELDS: dict[str, tuple[str, Callable[[str, pb.InferParameter], Any]]] = {
    "sequence_id": ("sequence", _sequence),
    "sequence_start": ("start", _bool),
    "sequence_end": ("end", _bool),
    "timeout": ("timeout", _seconds),
    "headrace_position": ("position", _integer),
    "headrace_tenant": ("tenant", _text),
}
