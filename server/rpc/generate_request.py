"""A request for texts: what it asks of the lanes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headrace.errors import HeadraceError, InvalidInput
from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec, Text
from headrace.symbols import Symbols

from ..commands import Prompt, Sampling
from ..steps import Array
from .sources import read_source


def texts_of(request: pb.GenerateRequest) -> int:
    """How many texts are asked for."""
    return len(request.prompts) * copies_of(request)


def copies_of(request: pb.GenerateRequest) -> int:
    return request.copies or 1


def most_of(request: pb.GenerateRequest, spec: ModelSpec) -> int:
    """Tokens of each text. Raises InvalidInput if nothing bounds them."""
    most = request.most or spec.longest
    if most is None:
        raise InvalidInput(f"sequences of {spec.name} may be of any length; say how many tokens a text may have")
    return most


def sampling_of(told: pb.Sampling) -> Sampling:
    """What was left out asks for nothing. The lane checks the ranges."""
    return Sampling(told.temperature, told.top_k, told.top_p or 1.0, told.repetition_penalty or 1.0, told.seed)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads prompts for one model."""

    spec: ModelSpec
    symbols: Symbols | None
    source_symbols: Symbols | None

    @classmethod
    def of(cls, spec: ModelSpec) -> Reader:
        """Raises InvalidInput if the model cannot write."""
        if spec.generation is None:
            raise InvalidInput(f"{spec.name} writes no texts; `headrace models` tells what it takes")
        return cls(spec, _symbols(spec.text), _symbols(spec.start.text if spec.start else None))

    def prompts(self, request: pb.GenerateRequest) -> Iterator[Prompt | HeadraceError]:
        """Each prompt of the request, or why it cannot be read: that is its own affair."""
        for number, told in enumerate(request.prompts):
            try:
                yield Prompt(self._tokens(told), self._source(told), number)
            except HeadraceError as error:
                yield error

    def _tokens(self, told: pb.Prompt) -> Array:
        """[time] int64."""
        if told.text and told.tokens:
            raise InvalidInput("a prompt is text or tokens, this one is both; leave one out")
        if not told.text:
            return np.array(told.tokens, np.int64)
        if self.symbols is None:
            raise InvalidInput(f"{self.spec.name} has no symbols; give the prompt as tokens")
        return tokens(self.symbols, told.text, self.spec.longest)

    def _source(self, told: pb.Prompt) -> tuple[Array, ...]:
        """For each input of the start graph [time, *shape]."""
        if told.source_text and told.source:
            raise InvalidInput("a source is text or tensors, this one is both; leave one out")
        if not told.source_text:
            return read_source(told.source, self.spec)
        start = self.spec.start
        if start is None or self.source_symbols is None:
            raise InvalidInput(f"{self.spec.name} takes no source in letters; leave it out, or give it as tensors")
        ids = tokens(self.source_symbols, told.source_text, start.longest)
        return (ids.astype(start.inputs[0].dtype, copy=False),)


def tokens(symbols: Symbols, text: str, longest: int | None) -> Array:
    """[time] int64. Raises InvalidInput, before it is read, for a text with more than `longest` tokens in any case."""
    if longest is not None and len(text) > longest * symbols.longest:
        raise InvalidInput(f"a text of {len(text)} characters has more than the {longest} tokens that the model takes")
    return symbols.tokens(text)


def _symbols(text: Text | None) -> Symbols | None:
    return None if text is None else Symbols(text)
