"""The server as a whole: settings → models, both faces on one port, metrics on another, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable

import grpc
from prometheus_client import CollectorRegistry

from headrace.errors import ConfigurationError

from .health import HealthServer
from .journal import Journal, NoJournal
from .metrics import Metrics
from .repository import load
from .rpc.inference import InferenceService
from .rpc.sequences import SequencesService
from .settings import Settings
from .steps import Answers

log = logging.getLogger(__name__)

#: A thread that computes gives up the interpreter so often, in seconds: at the default of 5 ms a busy event loop keeps
#: a lane's thread waiting for longer than its batch takes.
SWITCH_INTERVAL = 1e-4

#: A connection without a sign of life for so long is asked for one, and given up after as long again: its sequences
#: are then free to expire. Clients may ask as well, not more often than every 5 s.
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 30_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
]

#: gRPC itself refuses messages beyond so many times the frame limit; in between they get a typed error.
HARD_LIMIT = 4


class App:
    """A server in this process. `start` it, and `drain` it in the end; `settings` may ask for free ports (0).

    clock: monotonic seconds.
    """

    def __init__(
        self, settings: Settings, journal: Journal | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._journal, self._clock = journal or NoJournal(), clock

    async def start(self) -> None:
        """Loads the models and opens both ports. Raises ConfigurationError for whatever cannot be used."""
        registry, loop = CollectorRegistry(), asyncio.get_running_loop()

        def post(deliver: Callable[[Answers], None], answers: Answers) -> None:
            loop.call_soon_threadsafe(deliver, answers)

        self.models = load(self.settings, self._journal, Metrics(registry), post, self._clock)
        self._sequences = SequencesService(
            self.models, self.settings.connection_rows, self.settings.frame_bytes, self._clock
        )
        self._inference = InferenceService(self.models, self._clock)
        try:
            self._server, self.port = await self._listen()
            await self._open_health(registry)
        except ConfigurationError:
            self.models.stop()
            raise
        self.metrics_port = self._health.port

    async def drain(self) -> None:
        """Admits nothing new, answers all that was admitted, closes the connections and the lanes."""
        try:
            await asyncio.wait_for(self.models.drain(), self.settings.drain_seconds)
        except TimeoutError:
            log.warning("not everything was answered within %s s", self.settings.drain_seconds)
        self._sequences.finish()
        self._inference.finish()
        await self._server.stop(self.settings.drain_seconds)
        await asyncio.to_thread(self._health.stop)
        await asyncio.to_thread(self.models.stop)

    async def _open_health(self, registry: CollectorRegistry) -> None:
        host, port = self.settings.host, self.settings.metrics_port
        try:
            self._health = HealthServer(host, port, registry, lambda: self.models.ready)
        except ConfigurationError:
            await self._server.stop(None)  # or its threads keep the process from ending
            raise

    async def _listen(self) -> tuple[grpc.aio.Server, int]:
        limit = HARD_LIMIT * self.settings.frame_bytes
        options = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),  # what was applied must be told, however large
            ("grpc.so_reuseport", 0),  # or a second server on the port would share its connections unnoticed
            *KEEPALIVE,
        ]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((self._sequences.handler(), self._inference.handler()))
        try:
            port = server.add_insecure_port(f"{self.settings.host}:{self.settings.port}")
        except RuntimeError as error:
            raise ConfigurationError(
                f"port {self.settings.port} of {self.settings.host} cannot be used; is another server running? "
                "Choose another with --port"
            ) from error
        await server.start()
        return server, port


async def serve(settings: Settings, ready: Callable[[App], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains. `ready` is called once the ports are open.

    Raises ConfigurationError if the server cannot start.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    app, stop = App(settings), asyncio.Event()
    await app.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gc.freeze()  # what is loaded stays: no collection has to walk it again
    ready(app)
    await stop.wait()
    log.info("draining: everything admitted is answered")
    await app.drain()
    log.info("stopped")
