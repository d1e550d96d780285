"""The part of a call for texts that one lane writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np

from headrace.errors import HeadraceError
from headrace.protos import sequences_pb2 as pb

from ..commands import Barrier, Generate, Leave, Prompt
from ..lane import Lane
from ..models import Model
from ..steps import Answer, Failed, Wrote
from .drafts import Places
from .generate_request import sampling_of


class Caller(Protocol):
    """Who hears of his texts as they grow, until they have ended."""

    def wrote(self, places: Places, wrote: Wrote) -> None: ...
    def failed(self, places: Places, error: HeadraceError) -> None: ...
    def ended(self, texts: int) -> None: ...


class Portion:
    """The texts of one call that one lane writes, and the sink of what it says of them.

    Mutable: `_open`, the keys of texts that go on. Each counts in the model until it has ended or is dropped.
    """

    def __init__(self, caller: Caller, model: Model, lane: Lane, prompts: tuple[Prompt, ...], copies: int) -> None:
        self._caller, self._model, self._lane = caller, model, lane
        self._prompts, self._copies = prompts, copies
        self._places = Places.of([prompt.number for prompt in prompts], copies)
        self._open = set(range(len(self._places)))

    def __repr__(self) -> str:
        return f"Portion(open={len(self._open)})"

    def command(self, request: pb.GenerateRequest, most: int, arrived: float, deadline: float) -> Generate:
        """What the lane is to be asked. arrived, deadline: seconds on the lanes' clock."""
        sampling, stop = sampling_of(request.sampling), tuple(request.stop)
        return Generate(self, self._prompts, self._copies, sampling, most, stop, deadline, arrived)

    def post(self, command: Generate) -> None:
        self._model.post(self._lane, command)

    def deliver(self, answer: Answer) -> None:
        """An answer of the lane."""
        match answer:
            case Wrote():
                self._wrote(answer)
            case Failed(int() as key, None, error) if key in self._open:
                self._ended([key])
                self._caller.failed(self._places.take(np.array([key])), error)
            case _:
                pass

    def leave(self) -> None:
        """Nobody waits for these texts any more: the lane drops them at once, and then they do not count."""
        if self._open:
            gone = partial(asyncio.get_running_loop().call_soon_threadsafe, self._gone)
            self._model.submit(self._lane, Leave(self))
            self._model.submit(self._lane, Barrier(gone))

    def _wrote(self, answer: Wrote) -> None:
        if any(answer.endings):
            ends = zip(answer.keys.tolist(), answer.endings, strict=True)
            self._ended([key for key, ending in ends if ending is not None])
        self._caller.wrote(self._places.take(answer.keys), answer)

    def _ended(self, keys: Sequence[int]) -> None:
        self._open.difference_update(keys)
        self._model.handled(len(keys))
        self._caller.ended(len(keys))

    def _gone(self) -> None:
        self._model.handled(len(self._open))
        self._open.clear()
