"""Every entrant with the same prompts: first what it writes is judged, then all have their turns, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

import numpy as np

from headrace.training.threads import torch_threads

from ..cores import pinned
from ..decoder import decoder
from ..machine import Machine
from ..peers.peer import had
from ..site import Site
from .entrants import Entrant, Made
from .found import Checked, Found, Point, middles
from .process import Failed, Worker
from .truth import Truth
from .workload import LOADS, NEW, prompts

ROUNDS = 3

#: What a worker or a server may end with.
FAILURES = (Failed, RuntimeError, OSError)


def compare(site: Site, entrants: Sequence[Entrant], loads: Sequence[int] = LOADS, new: int = NEW) -> Found:
    """loads: sequences at once; new: tokens to each. Who cannot be had, or fails, is left out, with the reason."""
    made, rounds = Made.below(site.results / "attention"), min(ROUNDS, site.rounds)
    versions, missing = had(entrants)
    points, checked = list[Point](), dict[str, Checked]()
    with _started(site, made, [e for e in entrants if e.name in versions], missing) as workers, torch_threads(1):
        for name, worker in workers.items():
            with _told(name, missing):
                checked[name] = check(worker, loads, new)
        well = {name: worker for name, worker in workers.items() if name in checked}
        for _ in range(rounds):
            points += [turn(name, worker, load, new) for load in loads for name, worker in well.items()]
    return Found(Machine.here(), rounds, versions, missing, checked, middles(points))


@contextmanager
def _told(name: str, missing: dict[str, str]) -> Iterator[None]:
    """A failure in the block is noted as the reason why `name` is not there."""
    try:
        yield
    except FAILURES as error:
        missing[name] = f"{type(error).__name__}: {error}"


@contextmanager
def _started(
    site: Site, made: Made, entrants: Sequence[Entrant], missing: dict[str, str]
) -> Iterator[Mapping[str, Worker]]:
    """The workers of those that start, by name, all on the server's core; the reasons of the others go to `missing`."""
    workers: dict[str, Worker] = {}
    with ExitStack() as running, pinned(site.server_core):
        for number, entrant in enumerate(entrants):
            log = made.weights.with_name(f"{number}.log")
            with _told(entrant.name, missing):
                workers[entrant.name] = running.enter_context(entrant.start(made, log))
        yield workers


def check(worker: Worker, loads: Sequence[int], new: int) -> Checked:
    """Texts of all loads, which warms it up too, and the logits behind a prompt. Raises Failed."""
    truth, most = Truth(decoder()), prompts(max(loads))
    apart = np.abs(truth.logits(most[0])[-1] - np.array(worker.logits(most[0]))).max()
    for load in sorted(loads):
        texts = worker.write(most[:load], new).tokens
    return Checked(float(apart), truth.judge(most, texts))


def turn(name: str, worker: Worker, load: int, new: int) -> Point:
    """Raises Failed."""
    written = worker.write(prompts(load), new)
    tokens = load * new
    return Point(name, load, tokens / written.seconds, median(written.first), written.cpu / tokens)
