"""What a lane tells of itself while it works, and how it does without if that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import ParamSpec, Protocol

import numpy as np
from numpy.typing import NDArray

from .batch import Batch
from .state import State
from .steps import Answers, Steps
from .writing.waits import Waited
from .writing.writers import Writers

log = logging.getLogger(__name__)

P = ParamSpec("P")


class Meter(Protocol):
    """What is measured of a lane; see metrics.py."""

    def watch(self, state: State, writers: Writers) -> None: ...
    def wrote(self, waited: Waited) -> None: ...
    def started(self, pieces: Sequence[Steps], now: float) -> None: ...
    def ran(self, batch: Batch, seconds: float, compute_cpu: float, calls: int) -> None: ...
    def settled(self, pieces: Sequence[Steps], sound: NDArray[np.bool_], now: float, calls: int) -> None: ...
    def answered(self, answers: Answers) -> None: ...
    def admitted(self, answers: Answers) -> None: ...
    def expired(self, sequences: int) -> None: ...


def contained(act: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """What is not worth a lane: its failure is logged, and no more."""
    try:
        act(*args, **kwargs)
    except Exception:
        log.exception("the lane goes on without this")
