"""One HTTP/2 connection on the server's side, without its socket: bytes in, bytes out (RFC 9113).

A message passes few functions here: beside the runtime each costs several times what it does alone
(docs/performance.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from ctypes import byref, c_uint32, c_void_p, string_at

from . import library as h2
from .library import mover, needed
from .native import new_session, pairs
from .share import Share
from .stream import Headers, Incoming, Stream

log = logging.getLogger(__name__)

#: Bytes of a stream that a client may send ahead, before it hears that they are taken; and of a connection.
STREAM_WINDOW, CONNECTION_WINDOW = 1 << 20, 16 << 20

#: Bytes of a frame that a client may send: fewer, larger pieces of a large message.
FRAME = 128 << 10

#: Calls at once on a connection. All clients in a process share one, unless they ask for more.
STREAMS = 4096

#: Bytes of a request's headers, as RFC 9113, 6.5.2, counts them: 32 more for each.
HEADERS, HEADER = 64 << 10, 32

#: The headers of a request that are kept.
READ = frozenset({b":method", b":path", b"content-type", b"grpc-timeout", b"grpc-encoding"})

#: Of a stream whose request has these headers: who is to hear of it, None if nobody need. It must not raise.
Begin = Callable[[Stream, dict[bytes, bytes]], Incoming | None]


class ProtocolError(Exception):
    """The other side does not speak HTTP/2, or breaks its rules, or we met a fault of ours; the connection is of no use
    any more."""


class Session:
    """Mutable: `_streams`, those that are open; `_head` and `_head_size`, the headers that are being read; `_answered`,
    streams to be reset when all there is has been sent. share: of the event loop, for who hears of what comes."""

    def __init__(self, begin: Begin) -> None:
        self._begin, self.share = begin, Share()
        self._streams: dict[int, Stream] = {}
        self._head: dict[bytes, bytes] = {}
        self._head_size = 0
        self._answered: list[Stream] = []
        self._lib, self._move, self._sent = needed(), mover(), c_void_p()
        self._sent_at = byref(self._sent)
        self._source = h2.Source(None, h2.OnRead(self._on_read))
        self._hooks = {
            "begin_headers": h2.OnFrame(self._on_begin),
            "header": h2.OnHeader(self._on_header),
            "data_chunk_recv": h2.OnData(self._on_data),
            "frame_recv": h2.OnFrame(self._on_frame),
            "stream_close": h2.OnClose(self._on_close),
        }
        self._session = new_session(self._hooks)
        self._greet()

    def __repr__(self) -> str:
        return f"Session(streams={len(self._streams)})"

    def _greet(self) -> None:
        limits = {
            h2.MAX_CONCURRENT_STREAMS: STREAMS,
            h2.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            h2.MAX_FRAME_SIZE: FRAME,
            h2.MAX_HEADER_LIST_SIZE: HEADERS,
        }
        settings = (h2.Setting * len(limits))(*(h2.Setting(*each) for each in limits.items()))
        self._lib.nghttp2_submit_settings(self._session, 0, settings, len(limits))
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
        self._lib.nghttp2_session_del(self._session)
        del self._session, self._source, self._hooks, self._begin  # which refer to this

    # What comes in

    def receive(self, data: bytes) -> bool:
        """Tells who is to hear. Returns whether there is something to send, or nothing more. Raises ProtocolError."""
        lib, session = self._lib, self._session
        self.share.begin()
        if (code := lib.nghttp2_session_mem_recv(session, data, len(data))) < 0:
            raise self._error(code)
        return bool(lib.nghttp2_session_want_write(session)) or not lib.nghttp2_session_want_read(session)

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
        """The next bytes for the socket: all that can be sent now, but hardly more than `most`.

        Raises ProtocolError.
        """
        send, session, sent, pieces, size = self._lib.nghttp2_session_mem_send, self._session, self._sent_at, [], 0
        while size < most:
            if (length := send(session, sent)) > 0:
                pieces.append(string_at(self._sent, length))
                size += length
            elif length < 0:
                raise self._error(length)
            elif not self._answered:
                break
            else:
                self._reset_answered()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def respond(self, stream: Stream, headers: Headers) -> None:
        """Begins an answer; `write` and `end` go on."""
        self._lib.nghttp2_submit_response(self._session, stream.number, *pairs(headers), self._source)

    def write(self, stream: Stream, data: bytes) -> None:
        stream.add(data)
        self._go_on(stream)

    def end(self, stream: Stream, trailers: Headers) -> None:
        """Ends an answer behind all that was written."""
        stream.trailers = trailers
        self._go_on(stream)

    def refuse(self, stream: Stream, headers: Headers) -> None:
        """An answer that is headers only."""
        self._lib.nghttp2_submit_response(self._session, stream.number, *pairs(headers), None)
        self._stop_reading(stream)

    def reset(self, stream: Stream, code: int) -> None:
        """Ends a stream at once; what it has not sent is dropped."""
        self._lib.nghttp2_submit_rst_stream(self._session, 0, stream.number, code)

    def ping(self) -> None:
        """Asks the client for a sign of life."""
        self._lib.nghttp2_submit_ping(self._session, 0, None)

    def announce_end(self) -> None:
        """Asks the client to begin its next calls on another connection."""
        self._lib.nghttp2_submit_shutdown_notice(self._session)

    def terminate(self) -> None:
        """Says goodbye; what is not answered by then is not."""
        self._lib.nghttp2_session_terminate_session(self._session, h2.NO_ERROR)

    def _go_on(self, stream: Stream) -> None:
        if stream.deferred:
            stream.deferred = False
            self._lib.nghttp2_session_resume_data(self._session, stream.number)

    def _stop_reading(self, stream: Stream) -> None:
        """Behind a whole answer to a request that is not: its rest is not wanted (RFC 9113, 8.1).

        nghttp2 drops what a stream has queued as soon as it is reset, so that has to wait for the answer's last frame.
        """
        if stream.open:
            self._answered.append(stream)

    def _reset_answered(self) -> None:
        for stream in self._answered:
            if stream.open and stream.number in self._streams:
                self.reset(stream, h2.NO_ERROR)
        self._answered.clear()

    def _error(self, code: int) -> ProtocolError:
        return ProtocolError(self._lib.nghttp2_strerror(code).decode())

    # What nghttp2 calls: each has its session first, and last a pointer of no use

    def _on_begin(self, _: int, frame: int, __: int) -> int:
        self._head, self._head_size = {}, 0
        return 0

    def _on_header(self, _: int, frame: int, name: int, length: int, value: int, size: int, flags: int, __: int) -> int:
        self._head_size += HEADER + length + size
        if self._head_size > HEADERS:
            return h2.STREAM_FAILURE  # and what is left of them is read without asking
        if (known := string_at(name, length)) in READ:
            self._head[known] = string_at(value, size)
        return 0

    def _on_data(self, _: int, flags: int, stream: int, data: int, size: int, __: int) -> int:
        try:
            if (incoming := self._streams[stream].incoming) is None:
                self.consume(stream, size)
            else:
                incoming.receive(string_at(data, size))
        except Exception:
            return self._fault()
        return 0

    def _on_frame(self, _: int, frame: int, __: int) -> int:
        try:
            head = h2.FrameHead.from_address(frame)
            if head.type == h2.HEADERS:
                self._on_headers(head.stream, ends=bool(head.flags & h2.END_STREAM))
            elif head.type == h2.DATA and head.flags & h2.END_STREAM:
                self._on_end(self._streams[head.stream])
        except Exception:
            return self._fault()
        return 0

    def _on_headers(self, number: int, *, ends: bool) -> None:
        """Of a request, or what a client sends behind one, which says nothing here."""
        stream = self._streams.get(number)
        if stream is None:
            stream = self._streams[number] = Stream(number)
            stream.open = not ends
            stream.incoming = self._begin(stream, self._head)
        if ends:
            self._on_end(stream)

    def _on_end(self, stream: Stream) -> None:
        stream.open = False
        if stream.incoming is not None:
            stream.incoming.end()

    def _on_close(self, _: int, stream: int, code: int, __: int) -> int:
        try:
            found = self._streams.pop(stream, None)
            if found is not None and found.incoming is not None:
                found.incoming.leave()
        except Exception:
            return self._fault()
        return 0

    def _on_read(self, _: int, stream: int, address: int, most: int, flags: int, source: int, __: int) -> int:
        """Fills a frame."""
        try:
            return self._fill(self._streams[stream], address, most, flags)
        except Exception:
            return self._fault()

    def _fill(self, stream: Stream, address: int, most: int, flags: int) -> int:
        size = 0
        if stream.unsent:
            data = stream.take(most)
            size = len(data)
            self._move(address, data, size)
            if stream.unsent:
                return size
        if stream.trailers is not None:
            self._lib.nghttp2_submit_trailer(self._session, stream.number, *pairs(stream.trailers))
            self._stop_reading(stream)
            c_uint32.from_address(flags).value = h2.EOF | h2.NO_END_STREAM
        elif not size:
            stream.deferred = True
            return h2.DEFERRED
        elif stream.incoming is not None:
            stream.incoming.drained()
        return size

    def _fault(self) -> int:
        """Of ours. nghttp2 gives the connection up, and no other."""
        log.exception("a connection met a fault of ours, and ends")
        return h2.CALLBACK_FAILURE
