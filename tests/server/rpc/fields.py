"""What a protocol definition looks like on the wire."""

from __future__ import annotations

from typing import Any


def fields(messages: Any) -> dict[str, tuple[int, int, bool]]:
    """Full name of every field of the definitions, nested ones too → its number, type and whether it repeats."""
    found = {}
    for message in messages:
        found |= {field.full_name: (field.number, field.type, field.is_repeated) for field in message.fields}
        found |= fields(message.nested_types)
    return found
