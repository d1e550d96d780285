"""Where a measurement stands: the reference model, the servers and their cores, how often and how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .bare import Bare
from .cores import cores, pinned
from .reference import OUTPUTS, reference
from .server import Running, echoing, serving

T = TypeVar("T")

#: Rows in a batch, time steps in a batch: given, or the server would measure them itself, beside the load.
BATCH, TOKENS = 256, 4096


#: Seconds: what takes longer is stuck.
LONGEST = 1200


def options(lanes: int = 1) -> tuple[str, ...]:
    """Of the server; the same for all measurements."""
    return ("--lanes", str(lanes), "--batch-rows", str(BATCH), "--batch-tokens", str(TOKENS))


#: Bytes of an answer of the reference model to one time step.
ANSWER = 4 * OUTPUTS


@dataclass(frozen=True, slots=True)
class Site:
    """results, pictures: folders; rounds: how often each side has its turn; seconds: how long a turn is, about.

    The server has the first core, whatever loads it the last one; the bare runtime runs on the server's.
    """

    results: Path
    pictures: Path
    rounds: int
    seconds: float
    server_core: set[int] = field(default_factory=lambda: cores()[0])
    load_core: set[int] = field(default_factory=lambda: cores()[1])

    @property
    def model(self) -> Path:
        """The file of the reference model, made if it is not there."""
        return reference(self.results / "models")

    @contextmanager
    def server(self, *more: str) -> Iterator[Running]:
        """Ours, with one lane, on its core. more: options beside those that all have."""
        models, log = self.model.parents[2], self.results / "server.log"
        with pinned(self.server_core), serving(models, [*options(), *more], log=log) as running:
            yield running

    @contextmanager
    def echo(self, *, tuned: bool = False) -> Iterator[Running]:
        """The echo, on the same core. tuned: with one poller and uvloop."""
        with pinned(self.server_core), echoing(ANSWER, tuned=tuned) as running:
            yield running

    def load(self, work: Coroutine[None, None, T]) -> T:
        """Runs it on the core of the load. Raises TimeoutError if it takes out of all proportion."""
        with pinned(self.load_core):
            return asyncio.run(asyncio.wait_for(work, LONGEST))

    def bare(self) -> Bare:
        return Bare(self.model)

    def best(self, bare: Bare) -> int:
        """The batch at which the runtime alone is fastest."""
        with pinned(self.server_core):
            return bare.best(self.seconds / 4)

    def repeat(self, one_round: Callable[[], T]) -> list[T]:
        """So many rounds, in each of which every side has its turn; what is not the load's is on the server's core."""
        with pinned(self.server_core):
            return [one_round() for _ in range(self.rounds)]
