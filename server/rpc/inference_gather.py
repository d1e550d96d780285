"""Requests that arrive together, within a turn or two of the event loop, go to their lane as one command.

One row in a message is what stock clients send. A command costs a lane much the same whether it holds one row or many,
so the rows of all connections are gathered; whose an answer is, its key says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Protocol

import numpy as np

from headrace.errors import HeadraceError
from headrace.spec import Output

from ..commands import Leave, NamedSteps, Step
from ..lane import Lane
from ..models import Model
from ..steps import NEVER_AGAIN, NEXT, Answer, Array, Failed, Rows, Stepped, Steps
from .cells import CELLS
from .errors import our_fault
from .inference_request import Ask
from .usual import no_numbers, places

log = logging.getLogger(__name__)

#: Turns of the event loop that a row waits at most while each brings further ones: half more rows in a command than
#: with one, and with more than two no more.
MOST_TURNS = 2


class Caller(Protocol):
    """Who hears of each of his rows once."""

    def answered(self, key: int, cells: tuple[bytes, ...]) -> None:
        """cells: little-endian, of each output of the spec."""

    def failed(self, error: HeadraceError) -> None: ...


class Gathering:
    """The rows of several requests for one lane, and the sink of their answers. A row's key is its place here.

    Mutable: the columns, until they are `posted`. arrived: seconds on the lanes' clock, of the first request.
    """

    __slots__ = ("_arrived", "_asks", "_callers", "_deadlines", "_lane", "_model", "_positions", "posted")

    def __init__(self, model: Model, lane: Lane, arrived: float) -> None:
        self._model, self._lane, self._arrived = model, lane, arrived
        self._asks: list[Ask] = []
        self._callers: list[Caller] = []  # of each row, as what follows
        self._deadlines: list[float] = []
        self._positions: list[int] = []
        self.posted = False

    def __repr__(self) -> str:
        return f"Gathering({self._model!r}, rows={len(self._callers)})"

    def add(self, caller: Caller, ask: Ask, deadline: float) -> int:
        """The key of the caller's first row; the others follow. deadline: seconds on the lanes' clock."""
        first, rows = len(self._callers), len(ask.packed.lengths)
        self._asks.append(ask)
        self._callers += [caller] * rows
        self._deadlines += [deadline] * rows
        self._positions += [ask.options.position] * rows
        return first

    def post(self) -> None:
        """Hands the rows to the lane. A fault of ours fails them and nothing else."""
        if self.posted:
            return
        self.posted = True
        try:
            self._model.post(self._lane, self._command())
        except Exception as error:
            log.exception("requests failed")
            self._model.handled(len(self._callers))
            for caller in self._callers:
                caller.failed(our_fault(error))

    def leave(self, keys: range) -> None:
        """Who asked for these rows is gone: what still waits of them need not be computed."""
        self.post()
        self._model.submit(self._lane, Leave(self, frozenset(keys)))

    def deliver(self, answer: Answer) -> None:
        """An answer to some of the rows."""
        if isinstance(answer, Stepped):
            outputs = zip(answer.outputs, self._model.spec.outputs, strict=True)
            columns = [cut(cells, output, answer.lengths) for cells, output in outputs]
            for key, cells in zip(answer.keys.tolist(), zip(*columns, strict=True), strict=True):
                self._callers[key].answered(key, cells)
        elif isinstance(answer, Failed) and answer.key is not None:
            self._callers[answer.key].failed(answer.error)

    def _command(self) -> Step | NamedSteps:
        steps, names = self._steps(), [ask.name for ask in self._asks if ask.name is not None]
        if not names:
            return Step(steps)  # of a model without states
        starts = np.array([ask.options.start for ask in self._asks])
        return NamedSteps(steps, tuple(names), starts, np.array([ask.options.end for ask in self._asks]))

    def _steps(self) -> Steps:
        rows, packed = len(self._callers), [ask.packed for ask in self._asks]
        return Steps(
            self,
            keys=places(rows),
            numbers=no_numbers(rows),
            positions=np.array(self._positions, np.int64),
            lengths=joined([p.lengths for p in packed]),
            acked=np.array([NEVER_AGAIN if p == NEXT else p for p in self._positions], np.int64),
            deadlines=np.array(self._deadlines),
            arrived=self._arrived,
            values=tuple([joined(column) for column in zip(*[p.values for p in packed], strict=True)]),
        )


class Gatherer:
    """Mutable: `_open`, what was gathered and is not posted yet; `_turns`, that it waited; `_more`, whether rows came
    in the last of them.
    """

    def __init__(self) -> None:
        self._open: dict[Lane, Gathering] = {}
        self._turns, self._more = 0, False

    def __repr__(self) -> str:
        return f"Gatherer({list(self._open.values())})"

    def put(self, caller: Caller, ask: Ask, arrived: float, deadline: float) -> tuple[Gathering, int]:
        """Where the rows are, and the first one's key there. Raises as `Model.enter` does, without effect.

        arrived, deadline: seconds on the lanes' clock.
        """
        ask.model.enter(len(ask.packed.lengths))
        gathering = self._open.get(ask.lane)
        self._more = True
        if gathering is None or gathering.posted:  # before its turn, since a caller left
            gathering = self._begin(ask, arrived)
        return gathering, gathering.add(caller, ask, min(deadline, arrived + ask.options.timeout))

    def _begin(self, ask: Ask, arrived: float) -> Gathering:
        if not self._open:
            self._turns = 0
            asyncio.get_running_loop().call_soon(self._turn)
        gathering = self._open[ask.lane] = Gathering(ask.model, ask.lane, arrived)
        return gathering

    def _turn(self) -> None:
        """Posts what was gathered, unless this turn brought rows and the next may bring more."""
        self._turns += 1
        if self._more and self._turns <= MOST_TURNS:
            self._more = False
            asyncio.get_running_loop().call_soon(self._turn)
            return
        gathered, self._open = self._open, {}
        for gathering in gathered.values():
            gathering.post()


def cut(cells: Array, output: Output, lengths: Rows) -> list[bytes]:
    """Each row's part, little-endian. cells: [tokens, *shape], or [rows, *shape] for an output without time axis."""
    raw, rows = cells.astype(CELLS[output.dtype], copy=False).tobytes(), len(lengths)
    if rows == 1:
        return [raw]
    size = prod(output.shape) * CELLS[output.dtype].itemsize
    ends = (np.cumsum(lengths) if output.time else np.arange(1, rows + 1)) * size
    return [raw[start:end] for start, end in pairwise([0, *ends.tolist()])]


def joined(arrays: Sequence[Array]) -> Array:
    """One array of all; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
