"""What nghttp2 calls: each finds the session by its handle, and passes on what happened."""

from __future__ import annotations

import logging
from functools import cache, partial
from types import TracebackType
from typing import Any

from .library import CALLBACK_FAILURE, ffi, needed

log = logging.getLogger(__name__)


def _failed(kind: type[BaseException], error: BaseException, trace: TracebackType) -> None:
    """nghttp2 then gives its connection up, and no other."""
    log.error("a connection met a fault of ours, and ends", exc_info=(kind, error, trace))


called = partial(ffi.callback, error=CALLBACK_FAILURE, onerror=_failed)


@called("frame_callback")
def _began(session: Any, frame: Any, handle: Any) -> int:
    ffi.from_handle(handle).began(frame.hd.stream_id)
    return 0


@called("header_callback")
def _header(session: Any, frame: Any, name: Any, length: int, value: Any, size: int, flags: int, handle: Any) -> int:
    ffi.from_handle(handle).header(ffi.buffer(name, length)[:], ffi.buffer(value, size)[:])
    return 0


@called("data_callback")
def _data(session: Any, flags: int, stream: int, data: Any, size: int, handle: Any) -> int:
    ffi.from_handle(handle).data(stream, ffi.buffer(data, size))
    return 0


@called("frame_callback")
def _framed(session: Any, frame: Any, handle: Any) -> int:
    ffi.from_handle(handle).framed(frame.hd.type, frame.hd.flags, frame.hd.stream_id)
    return 0


@called("close_callback")
def _closed(session: Any, stream: int, code: int, handle: Any) -> int:
    ffi.from_handle(handle).shut(stream)
    return 0


@called("read_callback")
def _read(session: Any, stream: int, buffer: Any, most: int, flags: Any, source: Any, handle: Any) -> int:
    size: int
    size, flags[0] = ffi.from_handle(handle).read(stream, buffer, most)
    return size


@cache
def callbacks() -> Any:
    """All of them, as a session takes them."""
    lib, made = needed(), ffi.new("nghttp2_session_callbacks **")
    if lib.nghttp2_session_callbacks_new(made):
        raise MemoryError
    lib.nghttp2_session_callbacks_set_on_begin_headers_callback(made[0], _began)
    lib.nghttp2_session_callbacks_set_on_header_callback(made[0], _header)
    lib.nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made[0], _data)
    lib.nghttp2_session_callbacks_set_on_frame_recv_callback(made[0], _framed)
    lib.nghttp2_session_callbacks_set_on_stream_close_callback(made[0], _closed)
    return made[0]


@cache
def options() -> Any:
    """The library's defaults, but that a client may send on only once what it sent is consumed."""
    lib, made = needed(), ffi.new("nghttp2_option **")
    if lib.nghttp2_option_new(made):
        raise MemoryError
    lib.nghttp2_option_set_no_auto_window_update(made[0], 1)
    return made[0]


@cache
def source() -> Any:
    """Where the data of every answer come from."""
    return ffi.new("nghttp2_data_provider *", {"read": _read})
