"""The currency of the client: one step, from its caller's call to its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from headrace.errors import HeadraceError

from .tensors import Result

#: Position of a step that was never sent.
UNSENT = -1
#: Bytes of a row's cells in all columns of a frame, and of what stands around a tensor there.
ROW, TENSOR = 36, 8


@dataclass(slots=True, eq=False)
class Step:
    """Mutable: `position` and `acked`, set when it is sent; `called_at` and `voided_at` belong to Ordered."""

    key: int
    values: tuple[bytes, ...]
    """One for each input of the model: [length, *shape] in little-endian bytes."""
    length: int
    deadline: float
    """On the client's clock, in seconds."""
    answer: asyncio.Future[Result]
    called_at: int = 0
    """How many steps of its sequence its caller could know to be void."""
    position: int = UNSENT
    acked: int = 0
    voided_at: int = 0
    """Which void step of its sequence it is, counted from 1; 0: not void, that is neither failed nor given up."""
    size: int = field(init=False)
    """Bytes in a frame, at most: its tensors' tags count as if it were alone there."""

    def __post_init__(self) -> None:
        size = ROW
        for tensor in self.values:
            size += TENSOR + len(tensor)
        self.size = size

    @property
    def end(self) -> int:
        return self.position + self.length

    def relies_on(self, void: int) -> bool:
        """Whether it was called before that step was known to be void."""
        return self.called_at < void

    @property
    def given_up(self) -> bool:
        """Whether its caller no longer waits. True as well once it is answered."""
        return self.answer.done()

    def resolve(self, result: Result) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: HeadraceError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
