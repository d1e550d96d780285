"""What can be refused of a request for texts is refused before anything is begun."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from headrace.errors import HeadraceError, InvalidInput
from headrace.spec import Input, ModelSpec

from ..commands import Generate, Prompt, Sampling
from ..steps import Array, Rows

#: Of one text. Each token of it is compared with each of them.
MOST_STOPS, LONGEST_STOP = 16, 256

#: Seeds are words of so many bits.
SEED_BITS = 64


def refused(spec: ModelSpec, command: Generate) -> HeadraceError | None:
    """Why none of these texts can be written, if so."""
    return next(_of_all(spec, command), None)


def refused_prompt(spec: ModelSpec, prompt: Prompt) -> HeadraceError | None:
    """Why the texts of this prompt cannot be written, if so; the model writes."""
    return next(_of_prompt(spec, prompt), None)


def beginning(spec: ModelSpec, prompt: Prompt) -> Rows:
    """[time] the tokens that are read before the first is chosen: the prompt's, behind the one before all others."""
    begin = spec.generation.begin if spec.generation else None
    if begin is None or (len(prompt.tokens) and prompt.tokens[0] == begin):
        return prompt.tokens
    return np.concatenate([np.array([begin], np.int64), prompt.tokens])


def _of_all(spec: ModelSpec, command: Generate) -> Iterator[HeadraceError]:
    if spec.generation is None or not spec.stateful:
        yield InvalidInput(f"{spec.name} does not write texts; choose a model whose spec has a generation")
    elif spec.chunk.whole or spec.chunk.exactly not in (None, 1):
        yield InvalidInput(f"{spec.name} does not take one token at a time, so it cannot write")
    if command.copies < 1 or command.most < 1:
        yield InvalidInput("ask for 1 copy of a prompt or more, and for 1 token of each text or more")
    if command.stop and spec.text is None:
        yield InvalidInput(f"{spec.name} has no symbols, so no strings to stop at; leave out `stop`")
    if len(command.stop) > MOST_STOPS or not all(0 < len(stop) <= LONGEST_STOP for stop in command.stop):
        yield InvalidInput(f"give at most {MOST_STOPS} stop strings, of 1 to {LONGEST_STOP} characters each")
    yield from _of_sampling(command.sampling)


def _of_sampling(sampling: Sampling) -> Iterator[HeadraceError]:
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        yield InvalidInput("temperature is 0 (the likeliest token) or above, and finite")
    if sampling.top_k < 0:
        yield InvalidInput("top_k is 0 (all tokens) or above")
    if not 0 < sampling.top_p <= 1:
        yield InvalidInput("top_p lies above 0 and at most at 1 (all tokens)")
    if not (math.isfinite(sampling.repetition_penalty) and sampling.repetition_penalty > 0):
        yield InvalidInput("repetition_penalty is above 0 (1: none), and finite")
    if not 0 <= sampling.seed < 1 << SEED_BITS:
        yield InvalidInput(f"seed is a word of {SEED_BITS} bits, 0 or above")


def _of_prompt(spec: ModelSpec, prompt: Prompt) -> Iterator[HeadraceError]:
    tokens = beginning(spec, prompt)
    if not len(tokens):
        yield InvalidInput(f"{spec.name} has no token to begin with; give a prompt of one token or more")
    if spec.longest is not None and len(tokens) > spec.longest:
        yield InvalidInput(f"the prompt has {len(tokens)} tokens; {spec.name} takes {spec.longest}")
    yield from _of_tokens(spec.inputs[0], prompt.tokens)
    yield from _of_source(spec, prompt.source)


def _of_tokens(given: Input, tokens: Array) -> Iterator[HeadraceError]:
    if given.vocabulary is not None and np.count_nonzero((tokens < 0) | (tokens >= given.vocabulary)):
        message = f"{given.name} holds a token id outside 0 to {given.vocabulary - 1}; use the model's symbols"
        yield InvalidInput(message)


def _of_source(spec: ModelSpec, source: tuple[Array, ...]) -> Iterator[HeadraceError]:
    inputs = spec.start.inputs if spec.start else ()
    if len(source) != len(inputs):
        yield InvalidInput(f"{spec.name} takes a source of {len(inputs)} tensors, not of {len(source)}")
    if len({len(tensor) for tensor in source}) > 1:
        yield InvalidInput("the tensors of a source have equally many time steps")
    for given, tensor in zip(inputs, source, strict=False):
        if tensor.shape[1:] != given.shape or tensor.dtype != given.dtype:
            yield InvalidInput(f"{given.name} of the source is {given.dtype} [time, *{list(given.shape)}]")
        elif not len(tensor):
            yield InvalidInput(f"{given.name} of the source has no time steps; give one or more")
        elif spec.start is not None and len(tensor) > spec.start.longest:
            yield InvalidInput(f"the source has {len(tensor)} time steps; {spec.name} takes {spec.start.longest}")
        else:
            yield from _of_tokens(given, tensor)
