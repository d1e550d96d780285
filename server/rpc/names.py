"""Names that clients choose: ids of sequences and tenants. Tables are keyed by them, so their length is bounded."""

from __future__ import annotations

from headrace.errors import InvalidInput

#: Of UTF-8.
MOST_BYTES = 128


def check_name(what: str, text: str) -> str:
    """The text. Raises InvalidInput if it is too long, or has a NUL: such names are the server's own."""
    size = len(text.encode())
    if size > MOST_BYTES:
        raise InvalidInput(f"{what} has at most {MOST_BYTES} bytes, this one has {size}; choose another")
    if "\0" in text:
        raise InvalidInput(f"{what} has no NUL in it, this one has; choose another")
    return text


def check_id(id: str) -> str:
    """The id. Raises InvalidInput if it is empty, too long, or has a NUL."""
    if not id:
        raise InvalidInput(f"a sequence's id has 1 to {MOST_BYTES} bytes, this one is empty; choose another")
    return check_name("a sequence's id", id)
