"""Names of a user's tensors, where a spec could not have them as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable

OTHER = re.compile(r"[^A-Za-z0-9_.\-]")


def clean(name: str) -> str:
    """Of letters, digits, '.', '_' and '-', and not beginning with a sign: `self._rnn` is "rnn"."""
    return OTHER.sub("_", name).lstrip("._-")[:100] or "x"


def distinct(names: Iterable[str], taken: set[str], suffix: str) -> list[str]:
    """The names, cleaned, each with `suffix` behind it as often as it takes to be none of those `taken`, or before."""
    found: list[str] = []
    for name in map(clean, names):
        while name in taken or name in found:
            name += suffix  # noqa: PLW2901
        found.append(name)
    return found
