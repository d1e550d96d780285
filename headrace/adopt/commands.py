"""The commands `headrace inspect` and `headrace adopt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from headrace.errors import ConfigurationError
from headrace.foreign import FOREIGN_FILE

from .draft import DECIDE, draft, input_axes
from .facts import read
from .guess import roles
from .probe import probe
from .report import report
from .values import check


def inspect_file(file: Path, console: Console) -> None:
    """Prints what the file says of itself, what can be guessed, and what is missing for serving.

    Raises ConfigurationError if it is missing or corrupt.
    """
    facts = read(file)
    report(facts, roles(facts), console)


def adopt_file(file: Path, console: Console, values: Mapping[str, float] | None = None) -> Path:
    """Writes the draft of a `model.toml` beside the file, after a few runs that show its outputs' shapes.

    values: of constants that are known, by the name of the graph's input; no guess is made of these.
    Raises ConfigurationError if there is such a file, if the model needs none, if it is missing or corrupt, or if a
    value does not fit its input.
    """
    facts, place, values = read(file), file.with_name(FOREIGN_FILE), values or {}
    if facts.ours:
        raise ConfigurationError(f"{file} carries a Headrace spec: it can be served as it is")
    if unknown := sorted(set(values) - set(facts.inputs)):
        raise ConfigurationError(f"{file} has no inputs {', '.join(unknown)}; it has {', '.join(facts.inputs)}")
    check(values, facts.inputs)
    guessed = roles(facts, values)
    probed = probe(facts, input_axes(facts, guessed), values)
    try:
        with place.open("x", encoding="utf-8") as new:
            new.write(text := draft(facts, guessed, probed, values))
    except FileExistsError:
        raise ConfigurationError(f"{place} is there already; move it away for a new draft") from None
    console.print(f"{place}: {text.count(DECIDE)} lines marked DECIDE", markup=False, soft_wrap=True)
    return place
