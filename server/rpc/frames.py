"""Frames ↔ steps: columns of bytes are read with numpy and written from it, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, InvalidInput
from headrace.protos import sequences_pb2 as pb
from headrace.spec import Input, ModelSpec

from ..hot import hot
from ..steps import Answer, Array, Closed, Failed, Opened, Rows, Sink, Stepped, Steps, least
from .cells import CELLS, KEYS, POSITIONS, TIMES
from .errors import error_code, message, milliseconds
from .usual import no_deadlines, no_numbers, single

#: About the size of the largest reply frame, unless a single batch's answer is larger.
FRAME_BYTES = 1 << 20

#: No frame can hold as many time steps: lengths are cut to it, so that their sum cannot overflow.
MOST_TOKENS = 1 << 40


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are no message; `reason` says why."""

    reason: str


@hot
class Columns:
    """Each [rows]; tokens: the sum of the lengths."""

    keys: NDArray[np.uint32]
    positions: Rows
    lengths: Rows
    tokens: int


def read_columns(steps: pb.Steps) -> Columns:
    """Raises InvalidInput if the columns differ in length."""
    keys, positions = _column(steps.keys, KEYS, "keys"), _column(steps.positions, POSITIONS, "positions")
    lengths, tokens = _lengths(steps.lengths)
    if not len(keys) == len(positions) == len(lengths):
        rows = f"{len(keys)} keys, {len(positions)} positions and {len(lengths)} lengths"
        raise InvalidInput(f"the columns of a frame need one cell for each row; this one has {rows}")
    return Columns(keys, positions, lengths, tokens)


def _lengths(cells: bytes) -> tuple[Rows, int]:
    """[rows], none below 0, and their sum."""
    ones = single(cells)
    if ones is not None:
        return ones, len(ones)
    lengths = _column(cells, POSITIONS, "lengths").clip(0, MOST_TOKENS)
    return lengths, int(lengths.sum())


def placed(steps: Steps) -> tuple[Steps, list[Failed]]:
    """The rows whose positions can be meant, and what the others hear: below 0 the lanes have words of their own."""
    if least(steps.positions) >= 0:
        return steps, []
    wrong = steps.positions < 0
    error = InvalidInput("a step's position counts the time steps before it: 0 or more")
    below = steps.take(wrong)
    return steps.take(~wrong), failed_rows(below.keys, below.positions, error)


def read_steps(steps: pb.Steps, columns: Columns, spec: ModelSpec, sink: Sink, now: float) -> Steps:
    """The rows as the lanes want them; `now` in seconds. Raises InvalidInput if the tensors do not fit the columns."""
    keys, positions, lengths = columns.keys, columns.positions, columns.lengths
    acked = _column(steps.acked, POSITIONS, "acked") if steps.acked else positions
    if len(acked) != len(keys):
        raise InvalidInput(f"acked has {len(acked)} cells for {len(keys)} rows; leave it out, or give one for each row")
    if len(steps.values) != len(spec.inputs):
        names = ", ".join(i.name for i in spec.inputs)
        raise InvalidInput(f"{spec.name} takes {len(spec.inputs)} inputs ({names}), the frame has {len(steps.values)}")
    tokens, rows = columns.tokens, len(keys)
    cells = steps.values[:]  # a list, for a repeated field ends its loops by an IndexError, with words
    values = tuple([read_values(each, given, tokens) for each, given in zip(cells, spec.inputs, strict=True)])
    deadlines = _deadlines(steps, rows, now)
    return Steps(sink, keys, no_numbers(rows), positions, lengths, acked, deadlines, now, values)


def read_cancels(cancels: pb.Cancels) -> tuple[NDArray[np.uint32], Rows]:
    """keys [n], positions [n]. Raises InvalidInput if they differ in length."""
    keys, positions = read_keys(cancels.keys), _column(cancels.positions, POSITIONS, "positions")
    if len(keys) != len(positions):
        raise InvalidInput(f"cancels have {len(keys)} keys and {len(positions)} positions; give one of each a step")
    return keys, positions


def read_keys(cells: bytes) -> NDArray[np.uint32]:
    """[n]. Raises InvalidInput if the bytes are cut short."""
    return _column(cells, KEYS, "keys")


def _column(cells: bytes, dtype: np.dtype[np.generic], name: str) -> Array:
    try:
        return np.frombuffer(cells, dtype)
    except ValueError:
        raise InvalidInput(f"column {name} is cut short: {len(cells)} bytes hold no whole {dtype.name}") from None


def read_values(cells: bytes, given: Input, tokens: int) -> Array:
    """[tokens, *shape]. Raises InvalidInput if the bytes do not fit."""
    need = tokens * prod(given.shape) * CELLS[given.dtype].itemsize
    if len(cells) != need:
        shape = f"[{tokens}, {', '.join(map(str, given.shape))}]" if given.shape else f"[{tokens}]"
        raise InvalidInput(f"{given.name} must be {given.dtype} {shape}, {need} bytes; got {len(cells)}")
    return np.frombuffer(cells, CELLS[given.dtype]).reshape(tokens, *given.shape)


def _deadlines(steps: pb.Steps, rows: int, now: float) -> Array:
    if not steps.timeouts_us:
        return no_deadlines(rows)
    timeouts = _column(steps.timeouts_us, TIMES, "timeouts_us")
    if len(timeouts) not in (1, rows):
        raise InvalidInput(f"timeouts_us has {len(timeouts)} cells for {rows} rows; give one a row, or one for all")
    deadlines = np.where(timeouts == 0, np.inf, now + timeouts * 1e-6)
    return np.broadcast_to(deadlines, (rows,))


def in_frames(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    """The answers in their order, cut where a reply frame would grow beyond FRAME_BYTES of outputs."""
    frame: list[Answer] = []  # called, a generic alias would raise and catch an error inside, at every reply
    size = 0
    for answer in answers:
        more = sum([y.nbytes for y in answer.outputs]) if isinstance(answer, Stepped) else 0
        if frame and size + more > FRAME_BYTES:
            yield frame
            frame, size = [], 0
        frame.append(answer)
        size += more
    if frame:
        yield frame


def write_reply(answers: Iterable[Answer]) -> pb.Reply:
    """All that is to be said to a connection, in one frame."""
    reply = pb.Reply()
    closed: list[int] = []
    for answer in answers:
        match answer:
            case Stepped(keys, positions, lengths, outputs):
                reply.stepped.add(
                    keys=keys.tobytes(),
                    positions=positions.tobytes(),
                    lengths=lengths.tobytes(),
                    values=[y.tobytes() for y in outputs],
                )
            case Opened():
                reply.opened.add(
                    key=answer.key, version=answer.version, position=answer.position, resumed=answer.resumed
                )
            case Failed():
                reply.errors.append(write_error(answer.error, answer.key, answer.position))
            case Closed():
                closed += answer.keys
    if closed:
        reply.closed = np.array(closed, KEYS).tobytes()
    return reply


def write_error(error: HeadraceError, key: int | None = None, position: int | None = None) -> pb.Error:
    """What is told of an error inside a message."""
    return pb.Error(
        key=key,
        position=position,
        code=error_code(error),
        message=message(error),
        expected_position=error.expected_position,
        retry_after_ms=None if error.retry_after is None else milliseconds(error.retry_after),
    )


def failed_rows(keys: NDArray[np.uint32], positions: Rows, error: HeadraceError) -> list[Failed]:
    """Every row of a frame that cannot be read further than these columns."""
    rows = zip(keys.tolist(), positions.tolist(), strict=True)
    return [Failed(key, position, error) for key, position in rows]
