"""nghttp2's C functions, as far as a server needs them (nghttp2.org/documentation), found at run time.

Every system that has curl has the library. cffi calls it through its binary interface, so nothing is compiled.
"""

from __future__ import annotations

from ctypes.util import find_library
from functools import cache
from typing import Any

from cffi import FFI

#: Frame types, flags and error codes of RFC 9113, sections 6 and 7.
DATA, HEADERS = 0, 1
END_STREAM = 1
NO_ERROR, INTERNAL_ERROR, CANCEL = 0, 2, 8

#: Settings (RFC 9113, 6.5.2).
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 3, 4, 5

#: What a callback may answer: nothing more for now; this connection is of no use any more.
DEFERRED, CALLBACK_FAILURE = -508, -902

#: What a source may say of its data: it has no more of it; but more than data will follow.
EOF, NO_END_STREAM = 1, 2

ffi = FFI()
ffi.cdef(
    """
typedef struct nghttp2_session nghttp2_session;
typedef struct nghttp2_session_callbacks nghttp2_session_callbacks;
typedef struct nghttp2_option nghttp2_option;
typedef struct { size_t length; int32_t stream_id; uint8_t type, flags, reserved; } nghttp2_frame_hd;
typedef union { nghttp2_frame_hd hd; } nghttp2_frame;
typedef union { int fd; void *ptr; } nghttp2_data_source;
typedef struct { uint8_t *name, *value; size_t namelen, valuelen; uint8_t flags; } nghttp2_nv;
typedef struct { int32_t settings_id; uint32_t value; } nghttp2_settings_entry;
typedef ssize_t (*read_callback)(
    nghttp2_session *, int32_t, uint8_t *, size_t, uint32_t *, nghttp2_data_source *, void *);
typedef struct { nghttp2_data_source source; read_callback read; } nghttp2_data_provider;
typedef int (*frame_callback)(nghttp2_session *, const nghttp2_frame *, void *);
typedef int (*header_callback)(
    nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t, const uint8_t *, size_t, uint8_t, void *);
typedef int (*data_callback)(nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *);
typedef int (*close_callback)(nghttp2_session *, int32_t, uint32_t, void *);

int nghttp2_session_callbacks_new(nghttp2_session_callbacks **);
void nghttp2_session_callbacks_del(nghttp2_session_callbacks *);
void nghttp2_session_callbacks_set_on_begin_headers_callback(nghttp2_session_callbacks *, frame_callback);
void nghttp2_session_callbacks_set_on_header_callback(nghttp2_session_callbacks *, header_callback);
void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks *, data_callback);
void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks *, frame_callback);
void nghttp2_session_callbacks_set_on_stream_close_callback(nghttp2_session_callbacks *, close_callback);
int nghttp2_option_new(nghttp2_option **);
void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int);

int nghttp2_session_server_new2(
    nghttp2_session **, const nghttp2_session_callbacks *, void *, const nghttp2_option *);
void nghttp2_session_del(nghttp2_session *);
ssize_t nghttp2_session_mem_recv(nghttp2_session *, const uint8_t *, size_t);
ssize_t nghttp2_session_mem_send(nghttp2_session *, const uint8_t **);
int nghttp2_session_want_read(nghttp2_session *);
int nghttp2_session_want_write(nghttp2_session *);
int nghttp2_session_consume(nghttp2_session *, int32_t, size_t);
int nghttp2_session_consume_connection(nghttp2_session *, size_t);
int nghttp2_session_consume_stream(nghttp2_session *, int32_t, size_t);
int nghttp2_session_resume_data(nghttp2_session *, int32_t);
int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t, int32_t, int32_t);
int nghttp2_session_terminate_session(nghttp2_session *, uint32_t);

int nghttp2_submit_settings(nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t);
int nghttp2_submit_response(
    nghttp2_session *, int32_t, const nghttp2_nv *, size_t, const nghttp2_data_provider *);
int nghttp2_submit_trailer(nghttp2_session *, int32_t, const nghttp2_nv *, size_t);
int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t, int32_t, uint32_t);
int nghttp2_submit_ping(nghttp2_session *, uint8_t, const uint8_t *);
int nghttp2_submit_shutdown_notice(nghttp2_session *);
const char *nghttp2_strerror(int);
"""
)


@cache
def library() -> Any | None:
    """nghttp2, or None where it is not installed."""
    name = find_library("nghttp2")
    try:
        return ffi.dlopen(name or "libnghttp2.so.14")
    except OSError:
        return None


def needed() -> Any:
    """nghttp2. Raises ModuleNotFoundError where it is not installed."""
    if (found := library()) is None:
        raise ModuleNotFoundError("the library nghttp2 is not installed")
    return found
