"""nghttp2's C functions, as far as a server needs them (nghttp2.org/documentation), found at run time.

Most Linux systems have the library, for curl uses it. All that is called here returns within microseconds; so the
interpreter's lock is kept meanwhile, or each call would be an invitation to other threads.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    PyDLL,
    Structure,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_ssize_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from ctypes.util import find_library
from functools import cache

#: Frame types, flags and error codes of RFC 9113, sections 6 and 7.
DATA, HEADERS = 0, 1
END_STREAM = 1
NO_ERROR, CANCEL = 0, 8

#: Settings (RFC 9113, 6.5.2).
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 5, 6

#: What a callback may answer: nothing more for now; this stream is of no use any more, or this connection.
DEFERRED, STREAM_FAILURE, CALLBACK_FAILURE = -508, -521, -902

#: What a source may say of its data: it has no more of it; but more than data will follow.
EOF, NO_END_STREAM = 1, 2


class FrameHead(Structure):
    """How every frame begins."""

    _fields_ = (("length", c_size_t), ("stream", c_int32), ("type", c_uint8), ("flags", c_uint8), ("_", c_uint8))


class Setting(Structure):
    _fields_ = (("number", c_int32), ("value", c_uint32))


class Pair(Structure):
    """A header."""

    _fields_ = (
        ("name", c_char_p),
        ("value", c_char_p),
        ("name_size", c_size_t),
        ("value_size", c_size_t),
        ("flags", c_uint8),
    )


#: What nghttp2 calls. Each has the session first and a pointer of the caller's choice last; pointers are addresses.
OnFrame = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
OnHeader = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_uint8, c_void_p)
OnData = CFUNCTYPE(c_int, c_void_p, c_uint8, c_int32, c_void_p, c_size_t, c_void_p)
OnClose = CFUNCTYPE(c_int, c_void_p, c_int32, c_uint32, c_void_p)
OnRead = CFUNCTYPE(c_ssize_t, c_void_p, c_int32, c_void_p, c_size_t, c_void_p, c_void_p, c_void_p)


class Source(Structure):
    """Where the data of a stream come from."""

    _fields_ = (("_", c_void_p), ("read", OnRead))


#: Function → what it returns, what it takes.
FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "session_callbacks_new": (c_int, (POINTER(c_void_p),)),
    "session_callbacks_del": (None, (c_void_p,)),
    "session_callbacks_set_on_begin_headers_callback": (None, (c_void_p, OnFrame)),
    "session_callbacks_set_on_header_callback": (None, (c_void_p, OnHeader)),
    "session_callbacks_set_on_data_chunk_recv_callback": (None, (c_void_p, OnData)),
    "session_callbacks_set_on_frame_recv_callback": (None, (c_void_p, OnFrame)),
    "session_callbacks_set_on_stream_close_callback": (None, (c_void_p, OnClose)),
    "option_new": (c_int, (POINTER(c_void_p),)),
    "option_set_no_auto_window_update": (None, (c_void_p, c_int)),
    "option_set_no_closed_streams": (None, (c_void_p, c_int)),
    "session_server_new2": (c_int, (POINTER(c_void_p), c_void_p, c_void_p, c_void_p)),
    "session_del": (None, (c_void_p,)),
    "session_mem_recv": (c_ssize_t, (c_void_p, c_char_p, c_size_t)),
    "session_mem_send": (c_ssize_t, (c_void_p, POINTER(c_void_p))),
    "session_want_read": (c_int, (c_void_p,)),
    "session_want_write": (c_int, (c_void_p,)),
    "session_consume": (c_int, (c_void_p, c_int32, c_size_t)),
    "session_consume_connection": (c_int, (c_void_p, c_size_t)),
    "session_consume_stream": (c_int, (c_void_p, c_int32, c_size_t)),
    "session_resume_data": (c_int, (c_void_p, c_int32)),
    "session_set_local_window_size": (c_int, (c_void_p, c_uint8, c_int32, c_int32)),
    "session_terminate_session": (c_int, (c_void_p, c_uint32)),
    "submit_settings": (c_int, (c_void_p, c_uint8, POINTER(Setting), c_size_t)),
    "submit_response": (c_int, (c_void_p, c_int32, POINTER(Pair), c_size_t, POINTER(Source))),
    "submit_trailer": (c_int, (c_void_p, c_int32, POINTER(Pair), c_size_t)),
    "submit_rst_stream": (c_int, (c_void_p, c_uint8, c_int32, c_uint32)),
    "submit_ping": (c_int, (c_void_p, c_uint8, c_void_p)),
    "submit_shutdown_notice": (c_int, (c_void_p,)),
    "strerror": (c_char_p, (c_int,)),
}


@cache
def library() -> PyDLL | None:
    """nghttp2, or None where it is not installed."""
    try:
        found = PyDLL(find_library("nghttp2") or "libnghttp2.so.14")
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(found, f"nghttp2_{name}")
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):  # or one that is too old
        return None
    return found


def needed() -> PyDLL:
    """nghttp2. Raises ModuleNotFoundError where it is not installed."""
    if (found := library()) is None:
        raise ModuleNotFoundError("the library nghttp2 is not installed")
    return found


def reset_limit(lib: PyDLL) -> Callable[[int, int, int], None] | None:
    """How an option bounds the streams that a client may reset: so many at once, so many a second. None where nghttp2
    is older than the flood that it is against (CVE-2023-44487)."""
    try:
        function = lib.nghttp2_option_set_stream_reset_rate_limit
    except AttributeError:
        return None
    function.restype, function.argtypes = None, (c_void_p, c_uint64, c_uint64)
    return function


def mover() -> Callable[[int, bytes, int], int]:
    """C's memmove: to an address, of some bytes, so many. That of ctypes itself gives up the interpreter's lock."""
    function = PyDLL(None).memmove
    function.restype, function.argtypes = c_void_p, (c_void_p, c_char_p, c_size_t)
    return function
