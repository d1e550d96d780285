"""Conditions on the axes under which a trace holds: which are violated, and the user's lines that made them."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

SOURCES = {"time": "L['times'].size()[0]", "rows": "L['lengths'].size()[0]"}
"""Where the tracer takes an axis from, by the axis's name."""

CREATED = re.compile(r"create_symbol (?P<symbol>\w+) = \d+ for (?P<source>\S+)")
MADE = re.compile(r"eval (?!\[guard suppressed\])(?P<condition>.*) \[guard added\]")

AXES = re.compile(r"Constraints violated \(([\w, ]+)\)")
CONDITION = re.compile(r"satisfy the generated guard (.*?)\.?$", re.MULTILINE)
MOST = re.compile(r"time = Dim\('time', (?:min=\d+, )?max=(\d+)\)")


class Guards(logging.Filter):
    """Listens to the tracer, which tells of a condition while the line that made it is on the stack."""

    def __init__(self, own: set[str]) -> None:
        super().__init__()
        self._own = own
        self._symbols: dict[str, str] = {}
        self._made: list[tuple[str, str]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Notes what is told, and lets none of it be printed: where tracing fails, torch would log the whole graph."""
        told = record.getMessage()
        if created := CREATED.match(told):
            self._symbols[created["source"]] = created["symbol"]
        elif made := MADE.match(told):
            frames = [frame for frame in traceback.extract_stack() if frame.filename in self._own]
            where = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
            self._made.append((made["condition"], where))
        return False

    def lines(self, axis: str) -> str:
        """The user's lines that made conditions on this axis, each once."""
        symbol = self._symbols.get(SOURCES.get(axis, ""), "")
        found = [where for condition, where in self._made if symbol and re.search(rf"\b{symbol}\b", condition)]
        return ", ".join(dict.fromkeys(filter(None, found)))


@contextmanager
def guarded(own: set[str]) -> Iterator[Guards]:
    """While open, conditions are noted."""
    logger, guards = logging.getLogger("torch.fx.experimental.symbolic_shapes"), Guards(own)
    level = logger.level
    logger.addFilter(guards)
    logger.setLevel(logging.INFO)
    try:
        yield guards
    finally:
        logger.removeFilter(guards)
        logger.setLevel(level)


def avoidable(error: Exception) -> bool:
    """Whether all that is violated is "not so many time steps", which greater numbers of them do not meet."""
    conditions = CONDITION.findall(str(error))
    return bool(conditions) and "constant" not in str(error) and all("!=" in condition for condition in conditions)


def violated(error: Exception, guards: Guards, longest: int) -> str | None:
    """What is wrong with a module whose trace holds for some sizes alone; None of an error of another kind."""
    if (axes := AXES.search(str(error))) is None:
        return None
    axis = axes[1].split(", ")[0]
    where = f"; at {lines}" if (lines := guards.lines(axis)) else ""
    if most := MOST.search(str(error)):
        return f"it works for {most[1]} time steps, not for the {longest} of a step: give longest={most[1]}{where}"
    if conditions := CONDITION.findall(str(error)):
        needs = ", ".join(condition.replace(SOURCES.get(axis, axis), axis) for condition in conditions)
        return f"it works only where {needs}{where}"
    return (
        f"it works for the example's number of {axis} alone; write x.size(0), not len(x) or int(...), "
        f"and do not branch on or loop over {axis}{where}"
    )
