"""Runs a model on a few sizes, to see which axes of its outputs follow batch and time: what a file declares may lie.

The runtime is the one that serves: another would not know all operators, nor refuse what this one refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from headrace.contract import Declared
from headrace.foreign import BATCH, TIME, Axes

from .facts import Facts
from .guess import UNDECIDED

#: Time steps of the probes, each pair tried until both run: some models want more than a few.
TIMES = ((6, 9), (80, 112), (576, 640), (1600, 2400))

#: Rows of the probes.
ROWS = (2, 3)

FATAL = 4  # of ONNX Runtime's log: a refused probe is no news

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Probed:
    """axes: output → what was seen; remarks: what else was, a sentence each."""

    axes: dict[str, Axes]
    remarks: tuple[str, ...]


def probe(facts: Facts, axes: Mapping[str, Axes], values: Mapping[str, float]) -> Probed:
    """axes: of each input, with the guesses of batch and time. values: of the constants that are known."""
    if bare := [name for name, tensor in facts.inputs.items() if tensor.axes is None]:
        return Probed({}, (f"no probe ran: the graph declares no shape of {', '.join(bare)}",))
    try:
        runner = Runner(_session(facts), facts.inputs, axes, values)
    except Exception as error:  # the runtime's exceptions share no base but this
        return Probed({}, (f"the runtime cannot load it: {_first_line(error)}",))
    tried = list(TIMES) if not runner.times else [(n, n) for n in sorted(runner.times)]
    refusals: list[str] = []
    for short, long in tried:
        first = runner.shapes(ROWS[0], short, refusals)
        if first is not None:
            return _compare(first, runner, short, long, refusals)
    unknown = ", ".join(name for name in facts.inputs if name not in axes and name not in values)
    hint = f"; to know {unknown} may help" if unknown else ""
    return Probed({}, (f"no probe ran{hint}; the first was refused with: {refusals[0]}",))


@dataclass(frozen=True, slots=True)
class Runner:
    session: ort.InferenceSession
    inputs: Mapping[str, Declared]
    axes: Mapping[str, Axes]
    values: Mapping[str, float]

    @property
    def times(self) -> set[int]:
        """Where the graph fixes time, so that only this size can be tried."""
        return {size for name, axes in self.axes.items() for size in self._fixed(name, axes, TIME)}

    def shapes(self, rows: int, time: int, refusals: list[str]) -> Shapes | None:
        """output → shape; None if the runtime refuses, and why is added to `refusals`."""
        feed = {name: self._sample(name, rows, time) for name in self.inputs}
        names = [output.name for output in self.session.get_outputs()]
        try:
            results = self.session.run(names, feed)
        except Exception as error:  # the runtime's exceptions share no base but this
            refusals.append(_first_line(error))
            return None
        return {name: np.shape(result) for name, result in zip(names, results, strict=True)}

    def _sample(self, name: str, rows: int, time: int) -> NDArray[Any]:
        dtype = self.inputs[name].dtype or "float32"
        sizes: dict[str | int, int] = {BATCH: rows, TIME: time, UNDECIDED: 1}
        if name in self.values:
            return np.full(self._shape(name, sizes), self.values[name], dtype)
        if name not in self.axes:  # a number that nobody knows, or lengths
            return np.full(self._shape(name, sizes), time if self.inputs[name].axes else 1, dtype)
        return np.zeros(self._shape(name, sizes), dtype)

    def _shape(self, name: str, sizes: Mapping[str | int, int]) -> tuple[int, ...]:
        """What the graph fixes is kept, whatever is guessed of it."""
        there = self.inputs[name].axes or ()
        guessed = self.axes.get(name, tuple(BATCH if isinstance(axis, str) else axis for axis in there))
        sized = zip(there, guessed, strict=True)
        return tuple(axis if isinstance(axis, int) else sizes.get(guess, 1) for axis, guess in sized)

    def _fixed(self, name: str, axes: Axes, kind: str) -> Iterator[int]:
        there = self.inputs[name].axes or ()
        yield from (size for size, axis in zip(there, axes, strict=True) if axis == kind and isinstance(size, int))


def _compare(first: Shapes, runner: Runner, short: int, long: int, refusals: list[str]) -> Probed:
    wider = runner.shapes(ROWS[1], short, refusals)
    longer = runner.shapes(ROWS[0], long, refusals) if long != short else None
    remarks = []
    if wider is None:
        remarks.append(f"it took {ROWS[0]} rows, but not {ROWS[1]}: {refusals[-1]}")
    if longer is None and long != short:
        remarks.append(f"it took {short} time steps, but not {long}: {refusals[-1]}")
    wider, longer = wider or first, longer or first
    axes = {name: _axes(shape, wider[name], longer[name], long) for name, shape in first.items()}
    if any(BATCH in each for each in runner.axes.values()):
        axes = {name: _with_batch(found) for name, found in axes.items()}
    for name, found in axes.items():
        if UNDECIDED in found:
            remarks.append(
                f"{name} is {list(first[name])} for {short} time steps and another size, not {long}, for {long}: one "
                "result a time step is what can be served; does a chunk begin with context?"
            )
    return Probed(axes, tuple(remarks))


def _axes(shape: tuple[int, ...], wider: tuple[int, ...], longer: tuple[int, ...], long: int) -> Axes:
    """An axis that grows with the rows is batch, one that has each time step is time, one that else grows undecided."""
    axes = list[str | int]()
    for size, with_rows, with_time in zip(shape, wider, longer, strict=True):
        grown = size if size == with_time else TIME if with_time == long else UNDECIDED
        axes.append(BATCH if size != with_rows else grown)
    return tuple(axes)


def _with_batch(axes: Axes) -> Axes:
    """Where none grew with the rows, the batch is fixed at 1, and in front, as it mostly is."""
    return (BATCH, *axes[1:]) if BATCH not in axes and axes[:1] == (1,) else axes


def _session(facts: Facts) -> ort.InferenceSession:
    """Of the file, unless it has axes of size 0, which stand for any size and which the runtime takes by the letter."""
    session = _load(str(facts.file))
    if any(0 in each.shape for each in session.get_inputs()):
        return _load(facts.model.SerializeToString())
    return session


def _load(source: str | bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
