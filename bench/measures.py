"""All measurements by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from .clients import clients
from .crowd import sequences
from .figures import Figure, Measure
from .lanes import lanes
from .leak import leak
from .lone import lone
from .messages import messages
from .poisson import poisson
from .rolling import ragged
from .site import Site
from .speed import speed
from .start import start

#: Rounds, and seconds of a turn: for figures, and to try it out.
FULL, QUICK = (5, 2.0), (1, 0.3)

OURS: dict[str, Callable[[Site], list[Figure]]] = {
    "speed": speed,
    "lanes": lanes,
    "tasks": clients,
    "messages": messages,
    "lone": lone,
    "poisson": poisson,
    "sequences": sequences,
    "start": start,
    "ragged": ragged,
    "leak": leak,
}


def measures(*, quick: bool) -> dict[str, Measure]:
    """In the order in which they run. quick: as short as can be."""
    rounds, seconds = QUICK if quick else FULL
    return {name: partial(_here, measure, rounds, seconds) for name, measure in OURS.items()}


def _here(measure: Callable[[Site], list[Figure]], rounds: int, seconds: float, results: Path) -> list[Figure]:
    return measure(Site(results, rounds, seconds))
