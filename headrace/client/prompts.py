"""What a caller says of texts to be written → the request for them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.errors import InvalidInput
from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec
from headrace.symbols import Symbols

from .calls import seconds
from .frames import microseconds
from .tensors import pack

#: Text, or token ids.
Prompt = str | Sequence[int] | NDArray[np.integer]
#: Text in the symbols of the start graph, or a value for its inputs as for those of a step.
Source = str | ArrayLike | Mapping[str, ArrayLike] | tuple[ArrayLike, ...]

Prompts = Prompt | Sequence[Prompt] | None
Sources = Source | Sequence[Source] | None


class Writing(TypedDict, total=False):
    """How texts are to be written; what is left out asks for nothing."""

    source: Sources
    """Of a model with a start graph: one for all prompts, or a list with one for each."""
    max_tokens: int | None
    """Of each text; None: as many as the model takes, to be given where it takes any number."""
    temperature: float
    """0: the likeliest token, always."""
    top_k: int
    """Draws from so many likeliest tokens; 0: from all."""
    top_p: float
    """Draws from the fewest tokens that have so much of the probability; 1: from all."""
    repetition_penalty: float
    """Above 1: tokens that stood before are less likely; 1: they are not."""
    seed: int | None
    """The same seed, the same texts; None: a random one."""
    stop: str | Sequence[str]
    """A text ends before any of these strings."""
    copies: int
    """So many continuations of each prompt."""
    timeout: float | None
    """Seconds from the call on, after which texts end as they are."""
    version: str
    """Empty: the newest."""


def request(
    model: str,
    spec: ModelSpec,
    prompts: Prompts = None,
    *,
    source: Sources = None,
    max_tokens: int | None = None,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    stop: str | Sequence[str] = (),
    copies: int = 1,
    timeout: float | None = None,
    version: str = "",
) -> pb.GenerateRequest:
    """Raises InvalidInput for what the message cannot say; all else is checked by the server."""
    if min(copies, 1 if max_tokens is None else max_tokens) < 1 or not (top_p > 0 and repetition_penalty > 0):
        raise InvalidInput("copies and max_tokens are 1 or more, top_p and repetition_penalty above 0")
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "repetition_penalty": repetition_penalty}
    return _message(
        model=model,
        version=version,
        prompts=[_prompt(prompt, given, spec) for prompt, given in _pairs(prompts, source)],
        copies=copies,
        most=max_tokens or 0,
        stop=[stop] if isinstance(stop, str) else stop,
        sampling={**sampling, "seed": secrets.randbits(64) if seed is None else seed},
        timeout_us=microseconds(inf if timeout is None else seconds(timeout)),
    )


def read_source(spec: ModelSpec, source: Source) -> tuple[bytes, ...]:
    """For each input of the start graph [time, *shape]. Raises InvalidInput for what does not fit."""
    if spec.start is None:
        raise InvalidInput(f"the model {spec.name} begins without a source; leave it out")
    if not isinstance(source, str):
        return pack(spec.started(), source)[0]
    if spec.start.text is None:
        raise InvalidInput(f"the source of {spec.name} is no text; give its inputs as arrays")
    return pack(spec.started(), Symbols(spec.start.text).tokens(source))[0]


def _message(**fields: Any) -> pb.GenerateRequest:
    try:
        return pb.GenerateRequest(**fields)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"texts cannot be asked for like this: {error}") from None


def _prompt(prompt: Prompt, source: Source | None, spec: ModelSpec) -> pb.Prompt:
    """Texts go as they are: the server reads them."""
    message = pb.Prompt(source_text=source) if isinstance(source, str) else pb.Prompt()
    if source is not None and not isinstance(source, str):
        message.source.extend(read_source(spec, source))
    if isinstance(prompt, str):
        message.text = prompt
    else:
        message.tokens.extend(_tokens(prompt))
    return message


def _tokens(prompt: Sequence[int] | NDArray[np.integer]) -> list[int]:
    ids = np.asarray(prompt if len(prompt) else np.zeros(0, np.int64))  # [time]
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise InvalidInput(f"a prompt is text, or token ids [time]; got {ids.dtype} {list(ids.shape)}")
    return [int(token) for token in ids]


def _pairs(prompts: Prompts, source: Sources) -> list[tuple[Prompt, Source | None]]:
    """Each prompt with its source. What is given once goes with each of the others."""
    given: Sequence[Prompt] = prompts if _several(prompts) else ["" if prompts is None else prompts]  # type: ignore[assignment, list-item]
    sources: Sequence[Source | None] = source if _several(source) else [source]  # type: ignore[assignment, list-item]
    count = len(sources) if len(given) == 1 else len(given)
    if len(sources) not in (1, count):
        raise InvalidInput(f"there are {len(given)} prompts and {len(sources)} sources; give as many of both, or one")
    return [(given[n % len(given)], sources[n % len(sources)]) for n in range(count)]


def _several(given: object) -> bool:
    """Whether it is a list (or, of texts, a tuple) of prompts or sources, and not one of them."""
    if isinstance(given, tuple):
        return all(isinstance(each, str) for each in given)
    return isinstance(given, list) and not (given and all(isinstance(each, int | np.integer) for each in given))
