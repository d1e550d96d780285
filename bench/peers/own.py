"""Headrace, by the stock client and by its own; and the echo, which is all that the generator can get."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from headrace.spec import ModelSpec

from ..server import Running, echoing, serving
from ..site import ANSWER, options
from ..tasks import Caller, calling
from .peer import Setting
from .wire import StockClient, Streamed, by_parameters, clients

STREAMED = partial(Streamed, wrapped=True)
AS_IT_IS = (Setting("one lane"),)


class Headrace:
    """By the stock client. log: of the server."""

    name = "Headrace"
    settings = AS_IT_IS

    def __init__(self, log: Path) -> None:
        self._log = log

    def make(self) -> str:
        return f"headrace {version('headrace')}, grpcio {version('grpcio')}"

    @contextmanager
    def serve(self, model: Path, spec: ModelSpec, setting: Setting) -> Iterator[Running]:
        with serving(model.parents[2], options(), log=self._log) as running:
            yield running

    def clients(
        self, address: str, spec: ModelSpec, count: int, setting: Setting
    ) -> AbstractAsyncContextManager[list[StockClient]]:
        return clients(address, spec, count, STREAMED, by_parameters)


class OwnClient:
    """The same server by Headrace's own client: tasks of one program."""

    name = "Headrace, own client"
    settings = AS_IT_IS

    def __init__(self, log: Path) -> None:
        self._server = Headrace(log)
        self.make, self.serve = self._server.make, self._server.serve

    def clients(
        self, address: str, spec: ModelSpec, count: int, setting: Setting
    ) -> AbstractAsyncContextManager[list[Caller]]:
        return calling(address, spec.name, count=count)


class Echo:
    """Answers of the right size to the stock client, nothing computed."""

    name = "echo"
    settings = (Setting("grpc.aio"),)

    def make(self) -> str:
        return f"grpcio {version('grpcio')}"

    @contextmanager
    def serve(self, model: Path, spec: ModelSpec, setting: Setting) -> Iterator[Running]:
        with echoing(ANSWER) as running:
            yield running

    def clients(
        self, address: str, spec: ModelSpec, count: int, setting: Setting
    ) -> AbstractAsyncContextManager[list[StockClient]]:
        return clients(address, spec, count, STREAMED, by_parameters)
