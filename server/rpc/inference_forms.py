"""Requests that differ in their id and cells alone are understood once.

A client sends the same model, parameters, names, datatypes and shapes with each step of a sequence. All of them are a
request's *form*: its bytes without id and cells. What a form means is found out at its first request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.protos import inference_pb2 as pb

from ..models import Models
from ..steps import NEXT, Array
from .inference_request import Ask, understand

#: Forms that are remembered, and the bytes and rows up to which one is: clients choose them.
MOST_FORMS, LONGEST_FORM, MOST_ROWS = 4096, 512, 512


@dataclass(frozen=True, slots=True)
class Cells:
    """Where an input lies: which raw entry, and what it holds if it has the right size."""

    place: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]  # [tokens, *shape of the spec]
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Form:
    """first: the request that it was learnt from, without its cells, which may be large."""

    first: Ask
    inputs: tuple[Cells, ...]

    def read(self, raws: list[bytes]) -> Ask | None:
        """A request with these cells; None if an input has not the size that its head says."""
        values = list[Array]()
        for cells in self.inputs:
            raw = raws[cells.place]
            if len(raw) != cells.size:
                return None
            values.append(np.frombuffer(raw, cells.dtype).reshape(cells.shape))
        return self.first.again(tuple(values))


class Forms:
    """Mutable: `_known`, the bytes of a form → what they mean."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: dict[bytes, Form] = {}

    def __repr__(self) -> str:
        return f"Forms({len(self._known)})"

    def understand(self, request: pb.ModelInferRequest) -> Ask:
        """Raises as `understand` does. The request may have lost its id afterwards."""
        raws = request.raw_input_contents[:]
        if len(raws) != len(request.inputs):  # cells among the heads, or none
            return understand(self._models, request)
        del request.raw_input_contents[:]
        request.id = ""
        bare = request.SerializeToString()
        form = self._known.get(bare)
        ask = form.read(raws) if form is not None else None
        if ask is None:
            request.raw_input_contents.extend(raws)
            ask = understand(self._models, request)
            self._learn(bare, request, ask)
        return ask

    def _learn(self, bare: bytes, request: pb.ModelInferRequest, ask: Ask) -> None:
        small = len(bare) <= LONGEST_FORM and len(ask.packed.lengths) <= MOST_ROWS
        if not small or not _comes_again(self._models, request, ask):
            return
        if len(self._known) >= MOST_FORMS:
            self._known.clear()
        places = {head.name: place for place, head in enumerate(request.inputs)}
        given = zip(ask.model.spec.inputs, ask.packed.values, strict=True)
        cells = tuple(Cells(places[i.name], v.dtype, v.shape, v.nbytes) for i, v in given)
        self._known[bare] = Form(ask._replace(packed=ask.packed._replace(values=())), cells)


def _comes_again(models: Models, request: pb.ModelInferRequest, ask: Ask) -> bool:
    """Whether requests of this form mean the same whenever they come, and are likely to come."""
    once = ask.options.start or ask.options.end or ask.options.position != NEXT
    settled = request.model_version or len(models.versions(request.model_name)) == 1
    own = {given.name for given in ask.model.spec.inputs}  # any other says how long the rows are, by its cells
    return bool(settled) and not once and all(head.name in own for head in request.inputs)
