"""A session of nghttp2's, whose callbacks are methods of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from .library import CALLBACK_FAILURE, ffi, needed

log = logging.getLogger(__name__)

#: What nghttp2 calls, by the kind of its function, and how it is told so.
HOOKS = {
    "begin_headers": "frame_callback",
    "header": "header_callback",
    "data_chunk_recv": "data_callback",
    "frame_recv": "frame_callback",
    "stream_close": "close_callback",
}


def callback(kind: str, function: Callable[..., int]) -> Any:
    """The function as nghttp2 can call it, as long as this lives. If it raises, its connection ends, and no other."""
    return ffi.callback(kind, function, error=CALLBACK_FAILURE, onerror=_failed)


def _failed(kind: Any, error: BaseException, trace: Any) -> None:
    log.error("a connection met a fault of ours, and ends", exc_info=error)


def new_session(functions: dict[str, Any]) -> Any:
    """functions: of each of HOOKS, as `callback` made it. Raises MemoryError."""
    lib = needed()
    made = _made("nghttp2_session_callbacks **", lib.nghttp2_session_callbacks_new)
    for hook, function in functions.items():
        getattr(lib, f"nghttp2_session_callbacks_set_on_{hook}_callback")(made, function)
    session = _made("nghttp2_session **", lib.nghttp2_session_server_new2, made, ffi.NULL, _options())
    lib.nghttp2_session_callbacks_del(made)  # which has been copied
    return ffi.gc(session, lib.nghttp2_session_del)


@cache
def _options() -> Any:
    """The library's defaults, but that a client may send on only once what it sent is consumed."""
    lib = needed()
    made = _made("nghttp2_option **", lib.nghttp2_option_new)
    lib.nghttp2_option_set_no_auto_window_update(made, 1)
    return made


def _made(kind: str, make: Callable[..., int], *arguments: Any) -> Any:
    found = ffi.new(kind)
    if make(found, *arguments):
        raise MemoryError
    return found[0]


def pairs(headers: Any) -> tuple[Any, int]:
    """Names and values as nghttp2 takes them, which copies; and how many."""
    fields = [(ffi.from_buffer(name), ffi.from_buffer(value), len(name), len(value), 0) for name, value in headers]
    return ffi.new("nghttp2_nv[]", fields), len(fields)
