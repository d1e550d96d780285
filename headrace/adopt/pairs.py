"""Which output is the next value of which input: guessed by name, never by position alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from headrace.contract import Declared

#: Words of a name that say "before" or "after", and not what it is.
MARKS = frozenset(
    re.findall(
        r"\w+",
        "in out input output inputs outputs new old next prev previous past present init initial final last update "
        "updated cur current before after n t r",
    )
)

#: Names are called similar from here on, if they are not equal but for marks.
SIMILAR = 0.65


@dataclass(frozen=True, slots=True)
class Pairs:
    """found: input → output, the guesses.

    doubtful: a sentence for each tensor that could belong to several; in_doubt: the inputs of which they tell.
    """

    found: dict[str, str]
    doubtful: tuple[str, ...]
    in_doubt: frozenset[str] = frozenset()


def guess(inputs: Mapping[str, Declared], outputs: Mapping[str, Declared]) -> Pairs:
    """Pairs whose names are similar and whose dtypes and shapes can be equal, each the other's only best."""
    scores = {(i, o): _score(i, inputs[i], o, outputs[o]) for i in inputs for o in outputs}
    found, doubtful = dict[str, str](), dict[str, str]()
    for name in inputs:
        best = _best({o: scores[name, o] for o in outputs})
        if len(best) > 1:
            doubtful[name] = f"{name} may be the state before any of {', '.join(best)}: names and shapes do not say"
        elif best and (rivals := _best({i: scores[i, best[0]] for i in inputs})) == [name]:
            found[name] = best[0]
        elif best and name in rivals:
            doubtful[name] = f"{best[0]} may be the state after any of {', '.join(rivals)}: names and shapes do not say"
    return Pairs(found, tuple(dict.fromkeys(doubtful.values())), frozenset(doubtful))


def _best(scores: Mapping[str, float]) -> list[str]:
    most = max(scores.values(), default=0.0)
    return [name for name, score in scores.items() if score == most and score >= SIMILAR]


def _score(before: str, given: Declared, after: str, result: Declared) -> float:
    if not can_be_equal(given, result):
        return 0.0
    a, b = core(before), core(after)
    if a and a == b:
        return 2.0
    return SequenceMatcher(None, before.lower(), after.lower()).ratio()


def can_be_equal(given: Declared, result: Declared) -> bool:
    """A state has at most one axis that the graph leaves open, its batch axis; one more would be time, or grow."""
    if given.element != result.element or given.axes is None or sum(isinstance(a, str) for a in given.axes) > 1:
        return False
    if not given.axes or result.axes is None:
        return bool(given.axes)
    sizes = zip(given.axes, result.axes, strict=False)
    fits = all(a == b for a, b in sizes if isinstance(a, int) and isinstance(b, int))
    return len(given.axes) == len(result.axes) and fits


def core(name: str) -> str:
    """What is left of a name without its marks: state, stateN and new_state are one; so are h0, h_0 and hn."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    plain = [re.sub(r"^([hcs])[nt]$", r"\1", word.lower()) for word in words]
    kept = [word for word in plain if word not in MARKS]
    if len(kept) == 2 and kept[1] == "0" and len(kept[0]) == 1:  # h0 is the first value of h, not its first layer
        kept.pop()
    return " ".join(kept)
