"""All measurements by name."""

from __future__ import annotations

from .figures import Measure
from .speed import speed


def measures(*, quick: bool) -> dict[str, Measure]:
    """In the order in which they run. quick: as short as can be, to try them out."""
    return {"speed": speed}
