"""One HTTP/2 connection on the server's side, without its socket: bytes in, bytes out (RFC 9113).

A message passes few functions here: beside the runtime each costs several times what it does alone
(docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import library as h2
from .library import ffi, needed
from .native import callback, new_session, pairs
from .stream import Headers, Incoming, Stream

#: Bytes of a stream that a client may send ahead, before it hears that they are taken; and of a connection.
STREAM_WINDOW, CONNECTION_WINDOW = 1 << 20, 16 << 20

#: Bytes of a frame that a client may send: fewer, larger pieces of a large message.
FRAME = 1 << 20

#: Calls at once on a connection. All clients in a process share one, unless they ask for more.
STREAMS = 16_384

#: The headers of a request that are kept.
READ = frozenset({b":method", b":path", b"content-type", b"grpc-timeout", b"grpc-encoding"})

#: Of a stream whose request has these headers: who is to hear of it, None if nobody need. It must not raise.
Begin = Callable[[int, dict[bytes, bytes]], Incoming | None]


class ProtocolError(Exception):
    """The other side does not speak HTTP/2, or not by its rules; the connection is of no use any more."""


class Session:
    """Mutable: `_streams`, those that are open; `_head`, the headers that are being read; `_answered`, streams to be
    reset when all there is has been sent."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._streams: dict[int, Stream] = {}
        self._head: dict[bytes, bytes] = {}
        self._answered: list[int] = []
        self._lib, self._sent = needed(), ffi.new("const uint8_t **")
        self._hooks = {
            "begin_headers": callback("frame_callback", self._on_begin),
            "header": callback("header_callback", self._on_header),
            "data_chunk_recv": callback("data_callback", self._on_data),
            "frame_recv": callback("frame_callback", self._on_frame),
            "stream_close": callback("close_callback", self._on_close),
        }
        self._source = ffi.new("nghttp2_data_provider *", {"read": (read := callback("read_callback", self._on_read))})
        self._read = read
        self._session = new_session(self._hooks)
        self._greet()

    def __repr__(self) -> str:
        return f"Session(streams={len(self._streams)})"

    def _greet(self) -> None:
        limits = {h2.MAX_CONCURRENT_STREAMS: STREAMS, h2.INITIAL_WINDOW_SIZE: STREAM_WINDOW, h2.MAX_FRAME_SIZE: FRAME}
        entries = ffi.new("nghttp2_settings_entry[]", list(limits.items()))
        self._lib.nghttp2_submit_settings(self._session, 0, entries, len(limits))
        self._lib.nghttp2_session_set_local_window_size(self._session, 0, 0, CONNECTION_WINDOW)

    @property
    def idle(self) -> bool:
        """Whether no stream is open."""
        return not self._streams

    def close(self) -> None:
        """Tells all that are to hear, and frees what nghttp2 holds. Nothing else may be called then."""
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            if stream.incoming is not None:
                stream.incoming.leave()
        ffi.release(self._session)
        self._hooks.clear()
        del self._session, self._source, self._read, self._begin

    # What comes in

    def receive(self, data: bytes) -> None:
        """Tells who is to hear. Raises ProtocolError."""
        lib, session = self._lib, self._session
        if (code := lib.nghttp2_session_mem_recv(session, ffi.from_buffer(data), len(data))) < 0:
            raise self._error(code)

    def consume(self, stream: int, size: int) -> None:
        """So many received bytes of a stream are gone: the client may send as many more."""
        self._lib.nghttp2_session_consume(self._session, stream, size)

    def consume_connection(self, size: int) -> None:
        """The same, but for now it may send them in other streams only."""
        self._lib.nghttp2_session_consume_connection(self._session, size)

    def consume_stream(self, stream: int, size: int) -> None:
        """The other half of `consume`."""
        self._lib.nghttp2_session_consume_stream(self._session, stream, size)

    @property
    def over(self) -> bool:
        """Whether neither side has anything more to say."""
        lib, session = self._lib, self._session
        return not (lib.nghttp2_session_want_read(session) or lib.nghttp2_session_want_write(session))

    # What goes out

    def pull(self, most: int) -> bytes:
        """The next bytes for the socket, about so many at most; none if there is nothing to send now.

        Raises ProtocolError.
        """
        send, session, sent, pieces, size = self._lib.nghttp2_session_mem_send, self._session, self._sent, [], 0
        while size < most:
            if (length := send(session, sent)) > 0:
                pieces.append(ffi.buffer(sent[0], length)[:])
                size += length
            elif length < 0:
                raise self._error(length)
            elif not self._answered:
                break
            else:
                self._reset_answered()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def respond(self, stream: int, headers: Headers) -> None:
        """Begins an answer; `write` and `end` go on."""
        self._lib.nghttp2_submit_response(self._session, stream, *pairs(headers), self._source)

    def write(self, stream: int, data: bytes) -> None:
        outgoing = self._streams[stream]
        outgoing.add(data)
        if outgoing.deferred:
            self._go_on(stream, outgoing)

    def unsent(self, stream: int) -> int:
        """Bytes of a stream that wait to be pulled."""
        return self._streams[stream].unsent if stream in self._streams else 0

    def end(self, stream: int, trailers: Headers) -> None:
        """Ends an answer behind all that was written."""
        outgoing = self._streams[stream]
        outgoing.trailers = trailers
        if outgoing.deferred:
            self._go_on(stream, outgoing)

    def refuse(self, stream: int, headers: Headers) -> None:
        """An answer that is headers only."""
        self._lib.nghttp2_submit_response(self._session, stream, *pairs(headers), ffi.NULL)
        self._stop_reading(stream)

    def ping(self) -> None:
        """Asks the client for a sign of life."""
        self._lib.nghttp2_submit_ping(self._session, 0, ffi.NULL)

    def announce_end(self) -> None:
        """Asks the client to begin its next calls on another connection."""
        self._lib.nghttp2_submit_shutdown_notice(self._session)

    def terminate(self) -> None:
        """Says goodbye; what is not answered by then is not."""
        self._lib.nghttp2_session_terminate_session(self._session, h2.NO_ERROR)

    def _go_on(self, stream: int, outgoing: Stream) -> None:
        outgoing.deferred = False
        self._lib.nghttp2_session_resume_data(self._session, stream)

    def _stop_reading(self, stream: int) -> None:
        """Behind a whole answer to a request that is not: its rest is not wanted (RFC 9113, 8.1).

        nghttp2 drops what a stream has queued as soon as it is reset, so that has to wait for the answer's last frame.
        """
        if self._streams[stream].open:
            self._answered.append(stream)

    def _reset_answered(self) -> None:
        for stream in self._answered:
            if stream in self._streams and self._streams[stream].open:
                self._lib.nghttp2_submit_rst_stream(self._session, 0, stream, h2.NO_ERROR)
        self._answered.clear()

    def _error(self, code: int) -> ProtocolError:
        said = ffi.string(self._lib.nghttp2_strerror(code))
        return ProtocolError(said if isinstance(said, str) else said.decode())

    # What nghttp2 calls: each first has the session, and last a pointer of no use

    def _on_begin(self, _: Any, frame: Any, __: Any) -> int:
        self._head = {}
        return 0

    def _on_header(self, _: Any, frame: Any, name: Any, length: int, value: Any, size: int, flags: int, __: Any) -> int:
        if (known := bytes(ffi.buffer(name, length))) in READ:
            self._head[known] = bytes(ffi.buffer(value, size))
        return 0

    def _on_data(self, _: Any, flags: int, stream: int, data: Any, size: int, __: Any) -> int:
        incoming = self._streams[stream].incoming
        if incoming is None:
            self.consume(stream, size)
        else:
            incoming.receive(ffi.buffer(data, size))
        return 0

    def _on_frame(self, _: Any, frame: Any, __: Any) -> int:
        head = frame.hd
        ends = head.flags & h2.END_STREAM
        if head.type == h2.HEADERS:
            self._on_headers(head.stream_id, ends=bool(ends))
        elif head.type == h2.DATA and ends:
            self._on_end(self._streams[head.stream_id])
        return 0

    def _on_headers(self, stream: int, *, ends: bool) -> None:
        """Of a request, or what a client sends behind one, which says nothing here."""
        if stream in self._streams:
            found = self._streams[stream]
        else:
            found = self._streams[stream] = Stream()
            found.open = not ends
            found.incoming = self._begin(stream, self._head)
        if ends:
            self._on_end(found)

    def _on_end(self, stream: Stream) -> None:
        stream.open = False
        if stream.incoming is not None:
            stream.incoming.end()

    def _on_close(self, _: Any, stream: int, code: int, __: Any) -> int:
        found = self._streams.pop(stream, None)
        if found is not None and found.incoming is not None:
            found.incoming.leave()
        return 0

    def _on_read(self, _: Any, stream: int, buffer: Any, most: int, flags: Any, source: Any, __: Any) -> int:
        """Fills the buffer of a frame."""
        outgoing = self._streams[stream]
        size = outgoing.move(buffer, most)
        if outgoing.unsent:
            return size
        if outgoing.trailers is not None:
            self._lib.nghttp2_submit_trailer(self._session, stream, *pairs(outgoing.trailers))
            self._stop_reading(stream)
            flags[0] = h2.EOF | h2.NO_END_STREAM
        elif not size:
            outgoing.deferred = True
            return h2.DEFERRED
        elif outgoing.incoming is not None:
            outgoing.incoming.drained()
        return size
