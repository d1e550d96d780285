"""A peer for tests: the echo under another name, which fails with one of its settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

from headrace.bench.peers.own import STREAMED
from headrace.bench.peers.peer import Missing, Setting
from headrace.bench.peers.wire import StockClient, by_parameters, clients
from headrace.bench.server import Running, echoing
from headrace.spec import ModelSpec

GOOD, BAD = Setting("good"), Setting("bad")


class Entrant:
    """missing: why it cannot be had, if it cannot."""

    def __init__(self, name: str, *settings: Setting, missing: str = "") -> None:
        self.name, self.settings, self._missing = name, settings, missing

    def make(self) -> str:
        if self._missing:
            raise Missing(self._missing)
        return f"{self.name} 1.0"

    @contextmanager
    def serve(self, model: Path, spec: ModelSpec, setting: Setting) -> Iterator[Running]:
        if setting is BAD:
            raise RuntimeError("out of order\nsee its log")
        with echoing(4 * spec.outputs[0].shape[0]) as running:
            yield running

    def clients(
        self, address: str, spec: ModelSpec, count: int, setting: Setting
    ) -> AbstractAsyncContextManager[list[StockClient]]:
        return clients(address, spec, count, STREAMED, by_parameters)
