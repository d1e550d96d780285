"""What `headrace inspect` prints: the file's own words first, then guesses, then what keeps it from being served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from headrace.contract import Declared
from headrace.foreign import FOREIGN_FILE

from .facts import Facts
from .guess import MASKS, Roles

#: Graphs of older opsets are converted when they are loaded.
OLDEST = 13


def report(facts: Facts, roles: Roles, console: Console) -> None:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in facts.opsets.items())
    maker = f"{facts.model.producer_name} {facts.model.producer_version}".strip() or "not said"
    _line(console, f"{facts.file}: opset {opsets}; IR version {facts.model.ir_version}; made by {maker}")
    _table("inputs", facts.inputs, _taken_for(roles), console)
    _table("outputs", facts.outputs, {after: f"state, after {i}" for i, after in roles.pairs.found.items()}, console)
    _line(console, "dynamic axes: " + (", ".join(_dynamic(facts)) or "none"))
    _line(console, "operators: " + ", ".join(f"{n} {name}" for name, n in facts.operators.most_common()))
    _line(console, "missing for serving:")
    for sentence in missing(facts, roles) or ["nothing: it carries a Headrace spec"]:
        _line(console, f"- {sentence}")


def missing(facts: Facts, roles: Roles) -> list[str]:
    """What must be decided, or stands in the way, a sentence each. Nothing for a file of ours."""
    return [] if facts.ours else [*_obstacles(facts), *_decisions(facts, roles)]


def _obstacles(facts: Facts) -> Iterator[str]:
    for domain in facts.strange_domains:
        yield f"operators of the domain {domain}: ONNX Runtime does not bring them"
    for name, tensor in (facts.inputs | facts.outputs).items():
        if tensor.dtype is None:
            yield f"{name} is {tensor}: a dtype that is not served"
    for name in filter(MASKS.search, facts.inputs):
        yield f"{name} looks like a mask: masks are not served, export the model without, or with lengths"
    for name, tensor in facts.inputs.items():
        if tensor.axes is not None and sum(isinstance(axis, str) for axis in tensor.axes) > 2:
            yield f"{name} is {tensor}: with more open axes than batch and time; a state that grows is not served"
    if 0 < facts.opset < OLDEST:
        yield f"opset {facts.opset} is older than {OLDEST}: it will be converted when it is loaded"


def _decisions(facts: Facts, roles: Roles) -> Iterator[str]:
    yield from roles.doubtful
    if roles.pairs.found:
        pairs = ", ".join(f"{before} → {after}" for before, after in roles.pairs.found.items())
        yield f"whether these are its states, as their names suggest: {pairs}"
    for name in roles.constants:
        yield f"the value of {name}, one for all rows"
    if roles.lengths is None:
        yield "no input tells the rows' lengths: chunks of one length, or batches of rows of equal length"
    if not facts.file.with_name(FOREIGN_FILE).exists():
        yield f"a {FOREIGN_FILE} beside it: `headrace adopt {facts.file}` writes a draft"


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _taken_for(roles: Roles) -> dict[str, str]:
    named = dict.fromkeys(roles.inputs, "input") | dict.fromkeys(roles.constants, "constant")
    named |= {before: f"state, then {after}" for before, after in roles.pairs.found.items()}
    return named | ({roles.lengths: "lengths"} if roles.lengths else {})


def _dynamic(facts: Facts) -> list[str]:
    """tensor.axis=name; without a name, a question mark."""
    both = [*facts.inputs.items(), *facts.outputs.items()]
    return [f"{n}.{p}={axis}" for n, t in both for p, axis in enumerate(t.axes or ()) if isinstance(axis, str)]


def _table(title: str, tensors: Mapping[str, Declared], guesses: Mapping[str, str], console: Console) -> None:
    table = Table(title, "declared as", "taken for")
    for name, tensor in tensors.items():
        table.add_row(name, str(tensor).replace("[", r"\["), guesses.get(name, "output"))
    console.print(table)
