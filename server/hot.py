"""Data classes that a lane makes for every frame, or in every tick: frozen for the type checker alone.

A frozen data class sets each field by a call of `object.__setattr__`, so that one of nine fields takes 1 µs to make,
and beside the runtime two or three; a plain one takes a fifth. Nobody changes these either: mypy refuses it. All others
that are not meant to change are frozen when they run, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

C = TypeVar("C")


@dataclass_transform(frozen_default=True)
def hot(kind: type[C]) -> type[C]:
    """A data class with slots."""
    return dataclass(slots=True)(kind)
