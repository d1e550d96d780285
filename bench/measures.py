"""All measurements by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from .attention.measure import attention
from .caches import caches
from .clients import clients
from .crowd import sequences
from .decoders import decoders
from .encoders import encoders
from .figures import Figure, Measure
from .gpu import gpu
from .lanes import lanes
from .leak import leak
from .lone import lone
from .messages import messages
from .peers.measure import peers
from .poisson import poisson
from .profile import profile
from .rolling import ragged
from .site import Site
from .speed import speed
from .start import start
from .user_encoder import user_encoder

#: Rounds, and seconds of a turn: for figures, and to try it out.
FULL, QUICK = (5, 2.0), (1, 0.3)

#: In the order in which they run.
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
    "profile": profile,
    "caches": caches,
    "encoders": encoders,
    "user-encoder": user_encoder,
    "peers": peers,
    "attention": attention,
    "decoders": decoders,
}

#: Those that need to know no more than where results go.
OTHERS: dict[str, Measure] = {"gpu": gpu}


def measures(*, quick: bool) -> dict[str, Measure]:
    """All of them. quick: as short as can be, their pictures in a folder of that name."""
    return {name: partial(_here, measure, quick) for name, measure in OURS.items()} | OTHERS


def _here(measure: Callable[[Site], list[Figure]], quick: bool, results: Path) -> list[Figure]:
    rounds, seconds = QUICK if quick else FULL
    pictures = results / "quick" if quick else results
    pictures.mkdir(exist_ok=True)
    return measure(Site(results, pictures, rounds, seconds))
