"""/metrics and /healthz over HTTP, on threads of their own so that a busy server still answers its probes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from headrace.errors import ConfigurationError

#: The thread looks for the end so often, in seconds.
POLL_INTERVAL = 0.1

#: Who says or takes nothing for so long, in seconds, is hung up on.
PATIENCE = 5.0

#: So many are answered at once; others are hung up on, so that silent ones cost no more than these threads.
MOST_CONNECTIONS = 16


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def handle(self) -> None:
        with suppress(TimeoutError, ConnectionError):  # the other side's affair, not worth a traceback
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds; the log is for what happens."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection: one that says nothing holds up neither the others nor the end."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], *args: Any) -> None:
        self._free = BoundedSemaphore(MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, *args)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class HealthServer:
    """Serves until `stop`. Raises ConfigurationError if the port cannot be had.

    ready: whether the server takes work.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        app = application(registry, ready)
        try:
            self._server = make_server(host, port, app, server_class=_Server, handler_class=_Handler)
        except OSError as error:
            raise ConfigurationError(
                f"metrics port {port} cannot be used ({error.strerror}), choose another"
            ) from error
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(POLL_INTERVAL,), name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


def application(registry: CollectorRegistry, ready: Callable[[], bool]) -> Application:
    """The WSGI application: /metrics in Prometheus' text format, /healthz 200 or 503, else 404."""
    metrics = make_wsgi_app(registry)

    def respond(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                body: Iterable[bytes] = metrics(environ, start)
                return body
            case "/healthz":
                up = ready()
                return plain(start, "200 OK" if up else "503 Service Unavailable", b"ok\n" if up else b"draining\n")
            case _:
                return plain(start, "404 Not Found", b"there are /metrics and /healthz\n")

    return respond


def plain(start: StartResponse, status: str, body: bytes) -> list[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [body]
