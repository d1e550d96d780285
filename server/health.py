"""/metrics and /healthz over HTTP, on a thread of its own so that a busy server still answers its probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from headrace.errors import ConfigurationError

#: The thread looks for the end so often, in seconds.
POLL_INTERVAL = 0.1


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds; the log is for what happens."""


class HealthServer:
    """Serves until `stop`. Raises ConfigurationError if the port cannot be had.

    ready: whether the server takes work.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        try:
            self._server: WSGIServer = make_server(host, port, application(registry, ready), handler_class=_Quiet)
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
