"""The draft of a `model.toml`: every guess is written out, every decision is marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headrace.foreign import BATCH, TIME, Axes
from headrace.foreign import fixed as fixed_sizes

from .facts import Facts
from .guess import UNDECIDED, Roles, axes_of
from .probe import Probed
from .toml import array, line, plain_names, quoted
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
    results = [name for name in facts.outputs if name not in roles.results]
    names = plain_names([*axes, *results])
    parts = [
        _head(facts, roles, probed),
        _chunk(facts, roles, axes),
        *(_input(names[name], name, axes[name], facts) for name in roles.inputs),
        *(_output(names[name], name, facts, probed) for name in results),
        *(_state(names[before], before, after, axes[before], facts) for before, after in roles.pairs.found.items()),
        *(_constant(name, facts, values) for name in roles.constants),
        *([_lengths(roles.lengths, facts)] if roles.lengths else []),
    ]
    return "\n".join("".join(f"{line(each)}\n" for each in part) for part in parts)


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
    elif not any(TIME in axes[name] or facts.inputs[name].axes is None for name in roles.inputs):
        yield from _no_time(max((len(fixed_sizes(axes[name])) for name in roles.inputs), default=0))
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


def _no_time(sizes: int) -> Iterator[str]:
    """sizes: the most fixed axes that an input has; one is what a time step carries, of two the first may be time."""
    if sizes > 1:
        yield f'{DECIDE} no input has an open time axis; if a fixed one is time, call it "time" and say its size here'
    else:
        yield "# No input has a time axis: one time step a call."


def _fixed_times(facts: Facts, roles: Roles, axes: Mapping[str, Axes]) -> Iterator[int]:
    for name in roles.inputs:
        sizes = zip(facts.inputs[name].axes or (), axes[name], strict=True)
        yield from (size for size, axis in sizes if axis == TIME and isinstance(size, int))


def _input(name: str, tensor: str, axes: Axes, facts: Facts) -> Iterator[str]:
    yield "[[inputs]]"
    yield from _named(name, tensor)
    unsaid = "# " if facts.inputs[tensor].axes is None else ""  # without the key, the file is refused
    yield f"{unsaid}axes = {array(axes)}  # the graph: {facts.inputs[tensor]}"
    if facts.inputs[tensor].dtype in ("int64", "int32"):
        yield f"{DECIDE} vocabulary = n  # if these are token ids: they lie in [0, n)"
    elif TIME in axes:
        yield "# context = n  # if each chunk begins with the last n time steps of the one before"


def _output(name: str, tensor: str, facts: Facts, probed: Probed) -> Iterator[str]:
    yield "[[outputs]]"
    yield from _named(name, tensor)
    seen = probed.axes.get(tensor)
    axes = seen if seen is not None else axes_of(facts.outputs[tensor], time=True)
    unsaid = "# " if seen is None and facts.outputs[tensor].axes is None else ""
    known = "seen in a run" if seen is not None else "a guess"
    yield f"{unsaid}axes = {array(axes)}  # {known}; the graph: {facts.outputs[tensor]}"
    yield '# labels = ["…"]  # if the last axis is one of classes'


def _state(name: str, before: str, after: str, axes: Axes, facts: Facts) -> Iterator[str]:
    yield "[[states]]  # paired by name"
    yield f"name = {quoted(name)}"
    yield f"input = {quoted(before)}"
    yield f"output = {quoted(after)}"
    yield f"axes = {array(axes)}  # the graph: {facts.inputs[before]}"
    yield "# initial = 0.0"


def _constant(name: str, facts: Facts, values: Mapping[str, float]) -> Iterator[str]:
    yield f"[[constants]]  # the graph: {facts.inputs[name]}"
    yield f"tensor = {quoted(name)}"
    if name not in values:
        yield f"{DECIDE} value = n"
    else:
        yield f"value = {written(values[name], facts.inputs[name].dtype)}"


def _lengths(name: str, facts: Facts) -> Iterator[str]:
    there = facts.inputs[name].axes or ()
    yield f"[lengths]  # the graph: {facts.inputs[name]}"
    yield f"tensor = {quoted(name)}"
    yield f"axes = {array(tuple(1 if len(there) > 1 and axis == 1 else BATCH for axis in there))}"


def _named(name: str, tensor: str) -> Iterator[str]:
    yield f"name = {quoted(name)}"
    if name != tensor:
        yield f"tensor = {quoted(tensor)}"
