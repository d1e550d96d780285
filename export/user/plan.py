"""What is found out about a user's module by running it as it is: its spec, and how its tensors lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.spec import LENGTHS, Chunk, Input, ModelSpec, Output, State

from . import watch
from .example import Call
from .lines import told
from .names import clean, distinct
from .stock import at, refuse
from .values import probe
from .vocabulary import looked_up

PROBES = ((2, 5), (3, 5), (3, 7))
"""Rows and time steps: an axis that differs between the first two counts rows, between the others time steps."""

NAMES: dict[torch.dtype, Any] = {torch.float32: "float32", torch.int64: "int64"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One of the tensors that the module returns: which one, and which of its axes are rows and time."""

    index: int
    rows: int
    time: int | None
    output: Output

    def rows_first(self, x: Tensor) -> Tensor:
        """[rows, ...], or [rows, time, ...] with a time axis."""
        return x.movedim(self.rows, 0) if self.time is None else x.movedim((self.rows, self.time), (0, 1))


@dataclass(frozen=True, slots=True)
class Plan:
    """How the module is called, which of what it returns are outputs, and the spec of the graph.

    single: it loops over cells by itself, so that the graph does one time step
    """

    call: Call
    leaves: tuple[Leaf, ...]
    spec: ModelSpec
    single: bool


@dataclass(frozen=True, slots=True)
class Wishes:
    """What cannot be seen by running a module. `vocabulary`: of integer inputs, by name."""

    name: str
    task: str = ""
    longest: int = 512
    whole: bool = False
    vocabulary: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class _Probed:
    size: tuple[int, int]
    inputs: tuple[Tensor, ...]
    results: list[tuple[str, Tensor]]
    seen: watch.Watched


def plan(module: nn.Module, call: Call, example: Sequence[Tensor], wishes: Wishes) -> Plan:
    """Runs `module`, in evaluation mode, on probes of three sizes.

    Raises ConfigurationError, naming the layer and the reason, for what cannot be exported.
    """
    refuse(module)
    if unknown := set(wishes.vocabulary or ()) - set(call.names):
        raise ConfigurationError(
            f"vocabulary names {', '.join(sorted(unknown))}; the inputs are {', '.join(call.names)}"
        )
    probes = [_probed(module, call, probe(example, *size, seed), size, wishes) for seed, size in enumerate(PROBES)]
    _refuse_not_numbers(probes)
    _refuse_memory(module, call, probes[0], wishes)
    layers = watch.recurrent(module)
    single, whole = _single(layers, probes[0]), wishes.whole or _whole(module, layers, probes[0])
    if single and whole:
        raise ConfigurationError(f"{wishes.name} loops over cells: it is stepped, and cannot take whole sequences")
    for probed in probes:
        _refuse_lengths(layers, probed)
        if not whole:
            _refuse_calls(layers, probed)
    states = () if whole else tuple(_states(layers, probes))
    inputs = tuple(_input(name, k, probes[-1], wishes) for k, name in enumerate(call.names))
    inputs, leaves = _apart(inputs, tuple(_outputs(layers, probes, drop=not whole)), states)
    spec = ModelSpec(
        name=wishes.name,
        task=wishes.task,
        inputs=inputs,
        outputs=tuple(leaf.output for leaf in leaves),
        states=states,
        chunk=Chunk(longest=1 if single else wishes.longest, whole=whole),
    )
    return Plan(call, leaves, spec, single)


def _apart(
    inputs: tuple[Input, ...], leaves: tuple[Leaf, ...], states: tuple[State, ...]
) -> tuple[tuple[Input, ...], tuple[Leaf, ...]]:
    """The same, with names that a graph can have side by side: {"x": …} out of `forward(x)` is "x_out"."""
    taken = {LENGTHS} | {name for state in states for name in (state.input, state.output)}
    ins = distinct((i.name for i in inputs), taken, "_in")
    outs = distinct((leaf.output.name for leaf in leaves), taken | set(ins), "_out")
    renamed = (leaf.output.model_copy(update={"name": name}) for leaf, name in zip(leaves, outs, strict=True))
    return (
        tuple(i.model_copy(update={"name": name}) for i, name in zip(inputs, ins, strict=True)),
        tuple(replace(leaf, output=output) for leaf, output in zip(leaves, renamed, strict=True)),
    )


@torch.no_grad()
def _probed(
    module: nn.Module, call: Call, inputs: tuple[Tensor, ...], size: tuple[int, int], wishes: Wishes
) -> _Probed:
    with watch.watched(module) as seen, told(module, wishes.name, "run"):
        results = call(module, inputs, torch.full((size[0],), size[1]))
    return _Probed(size, inputs, results, seen)


def _refuse_not_numbers(probes: Sequence[_Probed]) -> None:
    wrong = [name for probed in probes for name, y in probed.results if not y.isfinite().all()]
    if wrong:
        raise ConfigurationError(
            f"output {wrong[0]} is not finite for inputs like the example's, so that nothing can be compared; give an "
            "example of real values"
        )


def _refuse_memory(module: nn.Module, call: Call, first: _Probed, wishes: Wishes) -> None:
    """The same input again and again: what a module keeps on itself shows in another answer, or another beginning."""
    before = {path: _kept(part) for path, part in module.named_modules()}
    again = [_probed(module, call, first.inputs, first.size, wishes) for _ in range(2)]
    if all(_alike(first, other) for other in again):
        return
    changed = [
        f"{at(path)}: {name}"
        for path, part in module.named_modules()
        for name, value in _kept(part).items()
        if before[path].get(name) is not value
    ]
    raise ConfigurationError(
        f"{wishes.name} answers differently when it is called again: it keeps a state on itself between calls "
        f"({', '.join(changed) or 'or draws random numbers'}); let its layers begin from zeros in every call"
    )


def _alike(a: _Probed, b: _Probed) -> bool:
    """Whether two runs gave the same, their layers beginning from the same."""
    pairs = [(x, y) for (_, x), (_, y) in zip(a.results, b.results, strict=True)]
    for path, runs in a.seen.runs.items():
        pairs += zip(runs[0].start, b.seen.runs[path][0].start, strict=False)
    return all(torch.equal(x, y) for x, y in pairs)


def _kept(part: nn.Module) -> dict[str, Any]:
    """A module's own attributes and buffers, by name."""
    plain = {name: value for name, value in vars(part).items() if not name.startswith("_")}
    return plain | dict(part._buffers)


def _single(layers: Mapping[str, nn.Module], probed: _Probed) -> bool:
    return any(isinstance(layers[path], watch.CELLS) for path in probed.seen.runs)


def _whole(module: nn.Module, layers: Mapping[str, nn.Module], probed: _Probed) -> bool:
    """Whether a step could depend on later ones."""
    called = [layers[path] for path in probed.seen.runs]
    both = any(isinstance(layer, nn.RNNBase) and layer.bidirectional for layer in called)
    return both or any(isinstance(part, nn.MultiheadAttention) for part in module.modules())


def _refuse_calls(layers: Mapping[str, nn.Module], probed: _Probed) -> None:
    """A layer has one state if it is called once, a cell if it is called once in every time step."""
    rows, time = probed.size
    for path, runs in probed.seen.runs.items():
        layer = layers[path]
        if len(runs) != (time if isinstance(layer, watch.CELLS) else 1):
            raise ConfigurationError(
                f"{at(path)}: {type(layer).__name__} is called {len(runs)} times for {time} time steps, so that it "
                "has no one state; use a layer for each call"
            )
        if any(len(end) != rows for end in watch.ends(layer, runs[0])):
            raise ConfigurationError(f"{at(path)}: {type(layer).__name__} does not run on one row for each sequence")


def _refuse_lengths(layers: Mapping[str, nn.Module], probed: _Probed) -> None:
    for path, runs in probed.seen.runs.items():
        if (steps := _steps(layers[path], runs[0])) not in (None, probed.size[1]):
            raise ConfigurationError(
                f"{at(path)}: {type(layers[path]).__name__} runs over {steps} time steps where the input has "
                f"{probed.size[1]}; what changes the length cannot be exported"
            )


def _steps(layer: nn.Module, run: watch.Run) -> int | None:
    """Time steps of a layer's input [rows, time, ...] or packed; None of a cell's."""
    if isinstance(layer, watch.CELLS):
        return None
    if isinstance(run.input, nn.utils.rnn.PackedSequence):
        return len(run.input.batch_sizes)
    assert isinstance(layer, nn.RNNBase)
    return int(run.input.shape[1 if layer.batch_first else 0])


def _states(layers: Mapping[str, nn.Module], probes: Sequence[_Probed]) -> list[State]:
    found = []
    for path in probes[0].seen.runs:
        begins = [watch.starts(layers[path], probed.seen.runs[path][0]) for probed in probes]
        for k, name in enumerate(watch.state_names(path, layers[path])):
            every = torch.cat([begin[k] for begin in begins])  # [rows of all probes, ...]
            if (every != every[:1]).any():
                raise ConfigurationError(
                    f"{at(path)}: its initial state depends on the input, which needs a start graph; "
                    "begin from zeros or a parameter, or export it with whole=True"
                )
            found.append(_state(name, every[0]))
    return found


def _state(name: str, start: Tensor) -> State:
    cells = start.flatten().tolist()
    initial = cells[0] if len(set(cells)) == 1 else tuple(cells)
    return State(
        name=name, input=name, output=f"{name}_out", dtype="float32", shape=tuple(start.shape), initial=initial
    )


def _outputs(layers: Mapping[str, nn.Module], probes: Sequence[_Probed], drop: bool) -> list[Leaf]:
    """What the module returns; without the layers' own states, which go their own way, if there is anything else."""
    if len({tuple(name for name, _ in probed.results) for probed in probes}) != 1:
        raise ConfigurationError("the module returns other tensors for an input of another length; stack them")
    states = {id(s) for path, runs in probes[0].seen.runs.items() for run in runs for s in watch.own(layers[path], run)}
    every = list(range(len(probes[0].results)))
    outer = [k for k in every if id(probes[0].results[k][1]) not in states] if drop else every
    kept = outer or every
    names = dict.fromkeys(kept, "y") if len(kept) == 1 and probes[0].results[kept[0]][0] in ("y0", "y1") else {}
    return [_leaf(k, names.get(k), [probed.results[k] for probed in probes]) for k in kept]


def _leaf(index: int, name: str | None, results: Sequence[tuple[str, Tensor]]) -> Leaf:
    a, b, c = (list(x.shape) for _, x in results)
    name = name or results[0][0]
    if not len(a) == len(b) == len(c):
        raise ConfigurationError(f"output {name} has another number of axes for another input")
    rows, times = ([k for k, (m, n) in enumerate(zip(x, y, strict=True)) if m != n] for x, y in ((a, b), (b, c)))
    if len(rows) != 1 or len(times) > 1 or rows == times:
        raise ConfigurationError(
            f"output {name} is {c} for {PROBES[2][0]} rows of {PROBES[2][1]} time steps: it needs one axis of rows, "
            "and at most one of time"
        )
    time = times[0] if times else None
    if time is not None and c[time] != PROBES[2][1]:
        raise ConfigurationError(f"output {name} has {c[time]} time steps where the input has {PROBES[2][1]}")
    shape = tuple(n for k, n in enumerate(c) if k not in (rows[0], time))
    kind = results[0][1].dtype
    if kind not in NAMES:
        raise ConfigurationError(f"output {name} is {kind}; float32 or int64 is needed")
    return Leaf(index, rows[0], time, Output(name=clean(name), dtype=NAMES[kind], shape=shape, time=time is not None))


def _input(name: str, index: int, probed: _Probed, wishes: Wishes) -> Input:
    x = probed.inputs[index]  # [rows, time, ...]
    if x.is_floating_point():
        return Input(name=clean(name), dtype="float32", shape=tuple(x.shape[2:]))
    vocabulary = (wishes.vocabulary or {}).get(name) or looked_up(x, probed.inputs, probed.seen.looked_up)
    if vocabulary is None:
        raise ConfigurationError(
            f"input {name} has integers that no nn.Embedding is seen to take as they are; say their number: "
            f"vocabulary={{{name!r}: …}}"
        )
    return Input(name=clean(name), dtype="int64", shape=tuple(x.shape[2:]), vocabulary=vocabulary)
