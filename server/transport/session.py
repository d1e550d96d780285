"""One HTTP/2 connection on the server's side, without its socket: bytes in, bytes out (RFC 9113)."""

from __future__ import annotations

from typing import Any, Protocol

from . import library as h2
from .callbacks import callbacks, options, source
from .library import ffi, needed
from .outgoing import Headers, Outgoing

#: Bytes of a stream that a client may send ahead, before it hears that they are taken; and of a connection.
STREAM_WINDOW, CONNECTION_WINDOW = 1 << 20, 16 << 20

#: Bytes of a frame that a client may send: fewer, larger pieces of a large message.
FRAME = 1 << 20

#: Calls at once on a connection. All clients in a process share one, unless they ask for more.
STREAMS = 16_384

#: The headers of a request that are kept.
READ = frozenset({b":method", b":path", b"content-type", b"grpc-timeout", b"grpc-encoding"})


class ProtocolError(Exception):
    """The other side does not speak HTTP/2, or not by its rules; the connection is of no use any more."""


class Listener(Protocol):
    """Hears what happens while `Session.receive` and `Session.pull` run. It must not raise, nor keep a buffer."""

    def headed(self, stream: int, head: dict[bytes, bytes]) -> None:
        """Headers are complete: a request's, or what a client sends behind one."""

    def received(self, stream: int, data: Any) -> None:
        """Data, as a buffer that lives no longer than this call. They must be consumed in the end."""

    def ended(self, stream: int) -> None:
        """The client sends no more."""

    def drained(self, stream: int) -> None:
        """All that was written has been pulled."""

    def closed(self, stream: int) -> None:
        """Nothing more can come or be sent."""


class Session:
    """Mutable: `_streams`, what each that is open has to send; `_head`, the headers that are being read;
    `_answered`, streams to be reset when all there is has been pulled."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._streams: dict[int, Outgoing] = {}
        self._head: dict[bytes, bytes] = {}
        self._answered: list[int] = []
        self._lib, self._sent = needed(), ffi.new("const uint8_t **")
        self._handle = ffi.new_handle(self)  # nghttp2 has a pointer to it, which keeps nothing alive
        made = ffi.new("nghttp2_session **")
        self._check(self._lib.nghttp2_session_server_new2(made, callbacks(), self._handle, options()))
        self._session = ffi.gc(made[0], self._lib.nghttp2_session_del)
        self._greet()

    def __repr__(self) -> str:
        return f"Session(streams={len(self._streams)})"

    def _greet(self) -> None:
        ours = [
            (h2.MAX_CONCURRENT_STREAMS, STREAMS),
            (h2.INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (h2.MAX_FRAME_SIZE, FRAME),
        ]
        entries = ffi.new("nghttp2_settings_entry[]", ours)
        self._check(self._lib.nghttp2_submit_settings(self._session, 0, entries, len(ours)))
        self._check(self._lib.nghttp2_session_set_local_window_size(self._session, 0, 0, CONNECTION_WINDOW))

    def _check(self, code: int) -> None:
        if code < 0:
            said = ffi.string(self._lib.nghttp2_strerror(code))
            raise ProtocolError(said if isinstance(said, str) else said.decode())

    def close(self) -> None:
        """Frees what nghttp2 holds; nothing else may be called then."""
        ffi.release(self._session)
        del self._handle, self._listener

    # What comes in

    def receive(self, data: bytes) -> None:
        """Tells the listener. Raises ProtocolError."""
        self._check(self._lib.nghttp2_session_mem_recv(self._session, ffi.from_buffer(data), len(data)))

    def consume(self, stream: int, size: int) -> None:
        """So many received bytes of a stream are gone: the client may send as many more."""
        self._lib.nghttp2_session_consume(self._session, stream, size)

    def consume_connection(self, size: int) -> None:
        """The same, but for now it may send them in other streams only."""
        self._lib.nghttp2_session_consume_connection(self._session, size)

    def consume_stream(self, stream: int, size: int) -> None:
        """The other half of `consume`."""
        self._lib.nghttp2_session_consume_stream(self._session, stream, size)

    # What goes out

    def pull(self) -> bytes:
        """The next bytes for the socket; none if there is nothing to send now. Raises ProtocolError."""
        if not (size := self._next()) and self._answered:
            for stream in self._answered:
                if stream in self._streams and self._streams[stream].open:
                    self.reset(stream, h2.NO_ERROR)
            self._answered.clear()
            size = self._next()
        return bytes(ffi.buffer(self._sent[0], size))

    def _next(self) -> int:
        size: int = self._lib.nghttp2_session_mem_send(self._session, self._sent)
        self._check(size)
        return size

    def respond(self, stream: int, headers: Headers) -> None:
        """Begins an answer; `write` and `end` go on."""
        self._lib.nghttp2_submit_response(self._session, stream, *_pairs(headers), source())

    def write(self, stream: int, data: bytes) -> int:
        """Returns how many bytes of the stream wait to be pulled."""
        outgoing = self._streams[stream]
        outgoing.add(data)
        self._wake(stream, outgoing)
        return outgoing.unsent

    def end(self, stream: int, trailers: Headers) -> None:
        """Ends an answer behind all that was written."""
        outgoing = self._streams[stream]
        outgoing.trailers = trailers
        self._wake(stream, outgoing)

    def refuse(self, stream: int, headers: Headers) -> None:
        """An answer that is headers only."""
        self._lib.nghttp2_submit_response(self._session, stream, *_pairs(headers), ffi.NULL)
        self._stop_reading(stream)

    def reset(self, stream: int, code: int) -> None:
        """Ends a stream at once; what it has not sent is dropped."""
        self._lib.nghttp2_submit_rst_stream(self._session, 0, stream, code)

    def ping(self) -> None:
        """Asks the client for a sign of life."""
        self._lib.nghttp2_submit_ping(self._session, 0, ffi.NULL)

    def announce_end(self) -> None:
        """Asks the client to begin its next calls on another connection."""
        self._lib.nghttp2_submit_shutdown_notice(self._session)

    def terminate(self) -> None:
        """Says goodbye; what is not answered by then is not."""
        self._lib.nghttp2_session_terminate_session(self._session, h2.NO_ERROR)

    @property
    def over(self) -> bool:
        """Whether neither side has anything more to say."""
        lib, session = self._lib, self._session
        return not (lib.nghttp2_session_want_read(session) or lib.nghttp2_session_want_write(session))

    def _wake(self, stream: int, outgoing: Outgoing) -> None:
        if outgoing.deferred:
            outgoing.deferred = False
            self._lib.nghttp2_session_resume_data(self._session, stream)

    def _stop_reading(self, stream: int) -> None:
        """Behind a whole answer to a request that is not: its rest is not wanted (RFC 9113, 8.1).

        nghttp2 drops what a stream has queued as soon as it is reset, so that has to wait for the answer's last frame.
        """
        if self._streams[stream].open:
            self._answered.append(stream)

    # What nghttp2 calls

    def began(self, stream: int) -> None:
        self._head = {}
        self._streams.setdefault(stream, Outgoing())

    def header(self, name: bytes, value: bytes) -> None:
        if name in READ:
            self._head[name] = value

    def data(self, stream: int, data: Any) -> None:
        self._listener.received(stream, data)

    def framed(self, kind: int, flags: int, stream: int) -> None:
        ends = kind <= h2.HEADERS and flags & h2.END_STREAM
        if ends:
            self._streams[stream].open = False
        if kind == h2.HEADERS:
            self._listener.headed(stream, self._head)
        if ends:
            self._listener.ended(stream)

    def shut(self, stream: int) -> None:
        self._streams.pop(stream, None)
        self._listener.closed(stream)

    def read(self, stream: int, buffer: Any, most: int) -> tuple[int, int]:
        """Fills the buffer of a frame; returns how many bytes it has, and nghttp2's flags."""
        outgoing = self._streams[stream]
        size = outgoing.move(buffer, most)
        if outgoing.unsent:
            return size, 0
        if outgoing.trailers is not None:
            self._lib.nghttp2_submit_trailer(self._session, stream, *_pairs(outgoing.trailers))
            self._stop_reading(stream)
            return size, h2.EOF | h2.NO_END_STREAM
        if not size:
            outgoing.deferred = True
            return h2.DEFERRED, 0
        self._listener.drained(stream)
        return size, 0


def _pairs(headers: Headers) -> tuple[Any, int]:
    """As nghttp2 takes them, which copies; and how many."""
    fields = [(ffi.from_buffer(name), ffi.from_buffer(value), len(name), len(value), 0) for name, value in headers]
    return ffi.new("nghttp2_nv[]", fields), len(fields)
