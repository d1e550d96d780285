"""What each tensor is likely to be, from its name, dtype and declared axes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from headrace.contract import Declared
from headrace.foreign import BATCH, TIME, Axes

from .facts import Facts
from .pairs import Pairs, can_be_equal
from .pairs import guess as guess_pairs

#: Stands where a size is not known; no `model.toml` is read that still has one.
UNDECIDED = 0

BATCHES = re.compile(r"(?i)^(b|n|bs|rows?|.*batch.*)$")
TIMES = re.compile(r"(?i)^(t|l|s|.*(time|seq|len|frame|step|token|chunk|sample).*)$")
LENGTHS = re.compile(r"(?i)(len|length|lengths|lens|sizes?)(_?\d+)?$")
MASKS = re.compile(r"(?i)mask")


@dataclass(frozen=True, slots=True)
class Roles:
    """The graph's inputs, by what they are taken for; names. doubtful: a sentence on each that could be more."""

    inputs: tuple[str, ...]
    pairs: Pairs
    constants: tuple[str, ...]
    lengths: str | None
    doubtful: tuple[str, ...] = ()

    @property
    def results(self) -> frozenset[str]:
        """Outputs that are states."""
        return frozenset(self.pairs.found.values())


def roles(facts: Facts, known: Collection[str] = ()) -> Roles:
    """known: inputs of which a value is given; they are constants, whatever they look like."""
    guessed = {name: tensor for name, tensor in facts.inputs.items() if name not in known}
    pairs = guess_pairs(guessed, facts.outputs)
    free = {name: tensor for name, tensor in guessed.items() if name not in pairs.found}
    lengths = next((name for name, tensor in free.items() if LENGTHS.search(name) and _counts(tensor)), None)
    constants = tuple(name for name, tensor in free.items() if name != lengths and _is_constant(tensor))
    inputs = tuple(name for name in free if name not in constants and name != lengths)
    if not inputs:  # whatever they are called, something must go in
        inputs, constants, lengths = tuple(free), (), None
    constants = tuple(name for name in facts.inputs if name in constants or name in known)
    doubtful = (*pairs.doubtful, *_possible_states(inputs, pairs, facts), *_odd_axes(inputs, facts))
    return Roles(inputs, pairs, constants, lengths, doubtful)


def _odd_axes(inputs: tuple[str, ...], facts: Facts) -> Iterator[str]:
    if not inputs:
        yield "all inputs look like states or constants: something must go in"
    for name in inputs:
        tensor = facts.inputs[name]
        if tensor.axes is None:
            yield f"{name} is {tensor}: its axes are for you to say"
        if _first_is_anything(tensor):
            yield (
                f"{name} is {tensor}: nothing tells what its first axis counts; a batch that the graph fixes cannot be "
                "served, export it again with a symbolic one"
            )


def _possible_states(inputs: tuple[str, ...], pairs: Pairs, facts: Facts) -> Iterator[str]:
    """A state that no name gives away would be served as an input, and clients would have to carry it."""
    rest = {name: tensor for name, tensor in facts.outputs.items() if name not in pairs.found.values()}
    for name in inputs if len(inputs) > 1 else ():  # a model's only input is no state: something must go in
        tensor = facts.inputs[name]
        fits = [after for after, result in rest.items() if can_be_equal(tensor, result)]
        if fits and name not in pairs.in_doubt and not _says_time(tensor):
            yield (
                f"{name} is drafted as an input, but has the dtype and shape of {', '.join(fits)}: if it is the state "
                "before one of them, write [[states]] for the two"
            )


def _says_time(tensor: Declared) -> bool:
    there = tensor.axes or ()
    return _first(there, TIMES, but=_batch(there)) is not None


def axes_of(tensor: Declared, *, time: bool) -> Axes:
    """Batch and time by the names of symbolic axes; where they have none that tells, batch comes first."""
    there = tensor.axes or ()
    batch, when = _batch(there), None
    if time:
        when = _first(there, TIMES, but=batch)
        when = when if when is not None else _first(there, None, but=batch)
    named: dict[int | None, str | int] = {batch: BATCH, when: TIME}
    if time and _first_is_anything(tensor):
        named |= {0: UNDECIDED}
    sizes = (axis if isinstance(axis, int) else UNDECIDED for axis in there)
    return tuple(named.get(place, size) for place, size in enumerate(sizes))


def _first_is_anything(tensor: Declared) -> bool:
    """A batch of a fixed size looks like the first axis of what one time step carries."""
    there = tensor.axes or ()
    return len(there) > 1 and isinstance(there[0], int) and _batch(there) is None


def _batch(there: tuple[int | str, ...]) -> int | None:
    """A graph that fixes its batch at 1 has it in front, or its time axis is the first symbolic one behind."""
    named = _first(there, BATCHES)
    if named is not None:
        return named
    if there[:1] == (1,):
        return 0
    others = [p for p, axis in enumerate(there) if isinstance(axis, str) and not TIMES.match(axis)]
    return others[0] if others else None


def _first(there: tuple[int | str, ...], names: re.Pattern[str] | None, but: int | None = None) -> int | None:
    for place, axis in enumerate(there):
        if isinstance(axis, str) and place != but and (names is None or names.match(axis)):
            return place
    return None


def _counts(tensor: Declared) -> bool:
    return tensor.dtype in ("int32", "int64") and len(tensor.axes or ()) <= 2


def _is_constant(tensor: Declared) -> bool:
    """Of fixed shape, and no more than one cell: a batch or a time axis has no place in it."""
    return tensor.axes is not None and all(axis == 1 for axis in tensor.axes) and len(tensor.axes) <= 1
