"""The server as a whole: settings → models, both faces on one port, metrics on another, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from threading import get_ident

from prometheus_client import CollectorRegistry

from headrace.errors import ConfigurationError

from .calibrator import Calibrator
from .health import HealthServer
from .journal import Journal, NoJournal
from .metrics import Metrics
from .models import Models
from .outlet import Outlet
from .repository import load
from .rpc.inference import InferenceService
from .rpc.sequences import SequencesService
from .settings import Settings
from .transport.listen import Server, listen

log = logging.getLogger(__name__)

#: A thread that computes gives up the interpreter so often, in seconds: at the default of 5 ms a busy event loop keeps
#: a lane's thread waiting for longer than its batch takes.
SWITCH_INTERVAL = 1e-4

#: Allocations until the garbage collector looks at the newest objects, and how often it does until it looks at older
#: ones and at all. Next to nothing is in cycles here; while 100,000 sequences open, the default pauses 4 ms, this 1 ms.
COLLECTIONS = (10_000, 5, 100)

#: Seconds without a sign of life after which a client is asked for one; after as many more it is given up, and its
#: sequences are free to expire.
SILENCE = 30.0

#: A message beyond so many times the frame limit ends its call; in between it gets a typed error.
HARD_LIMIT = 4


@dataclass(frozen=True, slots=True)
class App:
    """A server in this process, as `running` makes it: its ports are open."""

    models: Models
    port: int
    metrics_port: int
    calibrator: Calibrator
    _server: Server
    _services: tuple[SequencesService, InferenceService]
    _drain_seconds: float

    async def drain(self) -> None:
        """Admits nothing new, answers all that was admitted, closes the connections."""
        try:
            await asyncio.wait_for(self.models.drain(), self._drain_seconds)
        except TimeoutError:
            log.warning("not everything was answered within %s s", self._drain_seconds)
        for service in self._services:
            service.finish()
        await self._server.stop(self._drain_seconds)


@asynccontextmanager
async def running(
    settings: Settings, journal: Journal | None = None, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[App]:
    """Loads the models and opens both ports; `settings` may ask for free ones (0). In the end it drains.

    clock: monotonic seconds. Raises ConfigurationError for whatever cannot be used; nothing is left running then.
    """
    check_host(settings.host)
    registry, loop = CollectorRegistry(), asyncio.get_running_loop()

    metrics, outlets = Metrics(registry), partial(Outlet, loop=loop, thread=get_ident())
    models = load(settings, journal or NoJournal(), metrics, outlets, clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, models.stop)
        health = HealthServer(settings.host, settings.metrics_port, registry, lambda: models.ready)
        stack.push_async_callback(asyncio.to_thread, health.stop)
        sequences = SequencesService(models, settings.frame_rows, settings.frame_bytes, clock)
        inference = InferenceService(models, clock)
        services = (sequences.handler(), inference.handler())
        most = HARD_LIMIT * settings.frame_bytes
        server = await listen(settings.transport, settings.host, settings.port, services, most, SILENCE)
        calibrator = Calibrator(settings, models, lambda: metrics.total("steps") > 0)
        app = App(models, server.port, health.port, calibrator, server, (sequences, inference), settings.drain_seconds)
        stack.push_async_callback(app.drain)
        yield app


def check_host(host: str) -> None:
    """Raises ConfigurationError if nothing can listen there, whatever the port: gRPC does not say which is wrong."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:  # the latter for what cannot be a name at all
        raise ConfigurationError(
            f"host {host!r} is no address of this machine ({error}); choose one with --host, 0.0.0.0 for all"
        ) from error


@asynccontextmanager
async def beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Runs it while the block does, and no longer."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def serve(settings: Settings, ready: Callable[[App], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains. `ready` is called once the ports are open.

    Raises ConfigurationError if the server cannot start.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    stop = asyncio.Event()
    async with running(settings) as app:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        gc.freeze()  # what is loaded stays: no collection has to walk it again
        gc.set_threshold(*COLLECTIONS)
        ready(app)
        async with beside(app.calibrator.run()):
            await stop.wait()
        log.info("draining: everything admitted is answered")
    log.info("stopped")
