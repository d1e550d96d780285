"""Which core does what: a server on one, what loads it on another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> tuple[set[int], set[int]]:
    """One for the server and one for its load; the same, where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[-1]}


@contextmanager
def pinned(to: set[int]) -> Iterator[None]:
    """This thread, and processes and threads that it starts meanwhile, run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
