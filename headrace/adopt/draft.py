"""The draft of a `model.toml`: every guess is written out, every decision is marked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from headrace.foreign import BATCH, TIME, Axes
from headrace.spec import LENGTHS

from .facts import Facts
from .guess import UNDECIDED, Roles, axes_of
from .probe import Probed
from .values import written

DECIDE = "# DECIDE:"
LONGEST = 1024


def input_axes(facts: Facts, roles: Roles) -> dict[str, Axes]:
    """Of inputs and states, as guessed. Where no input has a batch axis, an axis of one in a state is none either."""
    axes = {name: axes_of(facts.inputs[name], time=True) for name in roles.inputs}
    single = not any(BATCH in each for each in axes.values())
    of_states = {name: axes_of(facts.inputs[name], time=False) for name in roles.pairs.found}
    if single:
        of_states = {name: tuple(1 if axis == BATCH else axis for axis in each) for name, each in of_states.items()}
    return of_states | axes


def draft(facts: Facts, roles: Roles, probed: Probed, values: Mapping[str, float]) -> str:
    """The text of the file. Read as it is, it is refused for each size or value that is not decided yet."""
    axes = input_axes(facts, roles)
    parts = [
        _head(facts, roles, probed),
        _chunk(facts, roles, axes),
        *(_input(name, axes[name], facts) for name in roles.inputs),
        *(_output(name, facts, probed) for name in facts.outputs if name not in roles.results),
        *(_state(before, after, axes[before], facts) for before, after in roles.pairs.found.items()),
        *(_constant(name, facts, values) for name in roles.constants),
        *([_lengths(roles.lengths, facts)] if roles.lengths else []),
    ]
    return "\n".join("".join(f"{line}\n" for line in part) for part in parts)


def _head(facts: Facts, roles: Roles, probed: Probed) -> Iterator[str]:
    yield f"# Drafted by `headrace adopt` from {facts.file.name}, by guesses. docs/adopt.md explains every key."
    yield f"# A size of {UNDECIDED} is not decided yet."
    for sentence in (*roles.doubtful, *probed.remarks):
        yield f"{DECIDE} {sentence}"
    yield ""
    yield 'task = ""'


def _chunk(facts: Facts, roles: Roles, axes: Mapping[str, Axes]) -> Iterator[str]:
    yield "[chunk]"
    fixed = sorted(set(_fixed_times(facts, roles, axes)))
    if fixed:
        yield f"{DECIDE} the graph fixes its time axis; if a part of it is the end of the chunk before, say context"
        yield f"exactly = {fixed[0]}"
    elif not any(TIME in axes[name] for name in roles.inputs):
        yield "# No input has a time axis: one time step a call."
        yield "exactly = 1"
    elif roles.lengths is not None:
        yield "# The most time steps that one call may carry."
        yield f"longest = {LONGEST}"
    else:  # many models run chunks of any length, and give sense for one alone: nothing tells which they are
        yield f"{DECIDE} one of the two"
        yield f"# longest = {LONGEST}  # a call may carry any number of time steps up to this"
        yield "# exactly = n  # a call must carry just so many"
    yield "# padded_end = true  # with exactly: a sequence's last chunk may be shorter; it is filled up with zeros"
    if roles.lengths is None:
        yield "# No input tells the rows' lengths: without `exactly`, rows of equal length share a call."


def _fixed_times(facts: Facts, roles: Roles, axes: Mapping[str, Axes]) -> Iterator[int]:
    for name in roles.inputs:
        sizes = zip(facts.inputs[name].axes or (), axes[name], strict=True)
        yield from (size for size, axis in sizes if axis == TIME and isinstance(size, int))


def _input(name: str, axes: Axes, facts: Facts) -> Iterator[str]:
    yield "[[inputs]]"
    yield from _named(name)
    yield f"axes = {_axes(axes)}  # the graph: {facts.inputs[name]}"
    if facts.inputs[name].dtype in ("int64", "int32"):
        yield f"{DECIDE} vocabulary = n  # if these are token ids: they lie in [0, n)"
    elif TIME in axes:
        yield "# context = n  # if each chunk begins with the last n time steps of the one before"


def _output(name: str, facts: Facts, probed: Probed) -> Iterator[str]:
    yield "[[outputs]]"
    yield from _named(name)
    seen = probed.axes.get(name)
    axes = seen or axes_of(facts.outputs[name], time=True)
    yield f"axes = {_axes(axes)}  # {'seen in a run' if seen else 'a guess'}; the graph: {facts.outputs[name]}"
    yield '# labels = ["…"]  # if the last axis is one of classes'


def _state(before: str, after: str, axes: Axes, facts: Facts) -> Iterator[str]:
    yield "[[states]]  # paired by name"
    yield f"name = {_quoted(_plain(before))}"
    yield f"input = {_quoted(before)}"
    yield f"output = {_quoted(after)}"
    yield f"axes = {_axes(axes)}  # the graph: {facts.inputs[before]}"
    yield "# initial = 0.0"


def _constant(name: str, facts: Facts, values: Mapping[str, float]) -> Iterator[str]:
    yield f"[[constants]]  # the graph: {facts.inputs[name]}"
    yield f"tensor = {_quoted(name)}"
    if name not in values:
        yield f"{DECIDE} value = n"
    else:
        yield f"value = {written(values[name], facts.inputs[name].dtype)}"


def _lengths(name: str, facts: Facts) -> Iterator[str]:
    there = facts.inputs[name].axes or ()
    yield f"[lengths]  # the graph: {facts.inputs[name]}"
    yield f"tensor = {_quoted(name)}"
    yield f"axes = {_axes(tuple(1 if len(there) > 1 and axis == 1 else BATCH for axis in there))}"


def _named(tensor: str) -> Iterator[str]:
    yield f"name = {_quoted(_plain(tensor))}"
    if _plain(tensor) != tensor:
        yield f"tensor = {_quoted(tensor)}"


def _plain(tensor: str) -> str:
    """A name that a spec takes."""
    name = re.sub(r"[^A-Za-z0-9_.\-]+", "_", tensor).lstrip("_.-")[:120] or "x"
    return name if name != LENGTHS else f"their_{LENGTHS}"


def _axes(axes: Axes) -> str:
    return f"[{', '.join(_quoted(axis) if isinstance(axis, str) else str(axis) for axis in axes)}]"


def _quoted(text: str) -> str:
    """JSON's strings are strings of TOML."""
    return json.dumps(text)
