"""A session of nghttp2's, made and undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ctypes import byref, c_void_p
from functools import cache
from typing import Any

from .library import Pair, needed, reset_limit

#: Calls that a client may cancel at once, and a second: an honest one whose deadlines pass cancels as fast as it calls.
RESETS = 4096, 1000


def new_session(hooks: dict[str, Any]) -> int:
    """Its address. hooks: what it calls, by the name of the event. Raises MemoryError."""
    lib = needed()
    callbacks = _made(lib.nghttp2_session_callbacks_new)
    try:
        for event, function in hooks.items():
            getattr(lib, f"nghttp2_session_callbacks_set_on_{event}_callback")(callbacks, function)
        return _made(lib.nghttp2_session_server_new2, callbacks, None, _options())
    finally:
        lib.nghttp2_session_callbacks_del(callbacks)  # the session has a copy


@cache
def _options() -> int:
    """The library's defaults, but that a client may send on only once what it sent is consumed, that nothing is kept
    of streams that are over, and that clients may cancel more."""
    lib = needed()
    made = _made(lib.nghttp2_option_new)
    lib.nghttp2_option_set_no_auto_window_update(made, 1)
    lib.nghttp2_option_set_no_closed_streams(made, 1)
    if (limit := reset_limit(lib)) is not None:
        limit(made, *RESETS)
    return made


def _made(make: Callable[..., int], *arguments: Any) -> int:
    found = c_void_p()
    if make(byref(found), *arguments) or found.value is None:
        raise MemoryError("nghttp2 had no memory")
    return found.value


def pairs(headers: Iterable[tuple[bytes, bytes]]) -> tuple[Any, int]:
    """Names and values as nghttp2 takes them, which copies; and how many."""
    made = [Pair(name, value, len(name), len(value), 0) for name, value in headers]
    return (Pair * len(made))(*made), len(made)
