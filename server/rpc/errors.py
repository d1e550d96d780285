"""The one table from errors to what the wire says: a gRPC status for calls, an error code for rows of frames."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from headrace.errors import (
    AlreadyExists,
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    HeadraceError,
    InvalidInput,
    ModelFailed,
    Overloaded,
    SequenceFull,
    TakenOver,
    Unavailable,
    UnknownModel,
    UnknownSequence,
    WrongPosition,
)
from headrace.protos import sequences_pb2 as pb

from .context import Context

#: Where the sequence of a failed step stands, in time steps: as trailing metadata, and with _ for - as parameter.
EXPECTED_POSITION = "headrace-expected-position"

#: Characters of a message. A status travels in a header, and those are bounded; names and shapes are the client's own.
MOST_DETAILS = 1000

#: When to retry, as gRPC's own retries read it (gRFC A6).
RETRY_PUSHBACK = "grpc-retry-pushback-ms"


@dataclass(frozen=True, slots=True)
class Wire:
    status: grpc.StatusCode
    code: pb.ErrorCode


#: A step on a sequence that is not live is INVALID_ARGUMENT, as stock Triton has it; one off its position is a failed
#: test-and-set, which gRPC calls ABORTED. A ConfigurationError has no code of its own: no row can cause it.
WIRE: dict[type[HeadraceError], Wire] = {
    InvalidInput: Wire(grpc.StatusCode.INVALID_ARGUMENT, pb.INVALID_INPUT),
    UnknownModel: Wire(grpc.StatusCode.NOT_FOUND, pb.UNKNOWN_MODEL),
    UnknownSequence: Wire(grpc.StatusCode.INVALID_ARGUMENT, pb.UNKNOWN_SEQUENCE),
    AlreadyExists: Wire(grpc.StatusCode.ALREADY_EXISTS, pb.ALREADY_EXISTS),
    WrongPosition: Wire(grpc.StatusCode.ABORTED, pb.WRONG_POSITION),
    TakenOver: Wire(grpc.StatusCode.ABORTED, pb.TAKEN_OVER),
    SequenceFull: Wire(grpc.StatusCode.OUT_OF_RANGE, pb.SEQUENCE_FULL),
    Overloaded: Wire(grpc.StatusCode.RESOURCE_EXHAUSTED, pb.OVERLOADED),
    DeadlineExceeded: Wire(grpc.StatusCode.DEADLINE_EXCEEDED, pb.DEADLINE_EXCEEDED),
    Cancelled: Wire(grpc.StatusCode.CANCELLED, pb.CANCELLED),
    Unavailable: Wire(grpc.StatusCode.UNAVAILABLE, pb.UNAVAILABLE),
    ModelFailed: Wire(grpc.StatusCode.INTERNAL, pb.MODEL_FAILED),
    ConfigurationError: Wire(grpc.StatusCode.FAILED_PRECONDITION, pb.UNSPECIFIED),
}


def error_code(error: HeadraceError) -> pb.ErrorCode:
    """For a row of a frame."""
    return WIRE[type(error)].code


def status(error: HeadraceError) -> grpc.StatusCode:
    """For a call, or a request in a stream of the Open Inference Protocol."""
    return WIRE[type(error)].status


def message(error: HeadraceError) -> str:
    """What it says, in a bounded length."""
    return str(error)[:MOST_DETAILS]


def trailing_metadata(error: HeadraceError) -> tuple[tuple[str, str], ...]:
    """What a client's program wants to know beside the status, where it is known."""
    known = []
    if error.expected_position is not None:
        known.append((EXPECTED_POSITION, str(error.expected_position)))
    if error.retry_after is not None:
        known.append((RETRY_PUSHBACK, str(milliseconds(error.retry_after))))
    return tuple(known)


def milliseconds(seconds: float) -> int:
    return round(seconds * 1e3)


async def abort(context: Context, error: HeadraceError) -> None:
    """Ends the call with the error's status; raises."""
    await context.abort(status(error), message(error), trailing_metadata(error))


def our_fault(error: Exception) -> HeadraceError:
    """What a caller hears of an exception that no one foresaw."""
    return ModelFailed(f"the server failed on this request: {error!r}")
