"""What a peer is: something that can be had, started with settings, and loaded by clients."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headrace.spec import ModelSpec

from ..load import Stepping
from ..server import Running


class Missing(Exception):
    """The peer cannot be had here; says why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One of the settings that are tried: what it is called in the results, and the peer's own options."""

    name: str
    options: dict[str, str] = field(default_factory=dict)


class Obtainable(Protocol):
    """Whatever has to be got before it can be measured. name: as the results call it."""

    @property
    def name(self) -> str: ...

    def make(self) -> str:
        """Gets it, where it is not there yet, and tells its versions. Raises Missing."""
        ...


def had(wanted: Sequence[Obtainable]) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of those that can be had, and the reasons of the others."""
    versions, missing = dict[str, str](), dict[str, str]()
    for each in wanted:
        try:
            versions[each.name] = each.make()
        except Missing as reason:
            missing[each.name] = str(reason)
    return versions, missing


class Peer(Obtainable, Protocol):
    """settings: those that are tried, the best of which is kept."""

    @property
    def settings(self) -> Sequence[Setting]: ...

    def serve(self, model: Path, spec: ModelSpec, setting: Setting) -> AbstractContextManager[Running]:
        """Serves an .onnx on loopback while the block runs, on the cores of the caller. Raises RuntimeError if it does
        not start."""
        ...

    def clients(
        self, address: str, spec: ModelSpec, count: int, setting: Setting
    ) -> AbstractAsyncContextManager[Sequence[Stepping]]:
        """So many sequences, each with its client."""
        ...
