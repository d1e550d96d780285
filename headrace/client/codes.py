"""The wire's ErrorCode → the exception that its caller sees. One table for the whole client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc

from headrace.errors import (
    AlreadyExists,
    Cancelled,
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

EXCEPTIONS: Mapping[int, type[HeadraceError]] = {
    pb.UNSPECIFIED: HeadraceError,
    pb.INVALID_INPUT: InvalidInput,
    pb.UNKNOWN_MODEL: UnknownModel,
    pb.UNKNOWN_SEQUENCE: UnknownSequence,
    pb.ALREADY_EXISTS: AlreadyExists,
    pb.WRONG_POSITION: WrongPosition,
    pb.TAKEN_OVER: TakenOver,
    pb.OVERLOADED: Overloaded,
    pb.DEADLINE_EXCEEDED: DeadlineExceeded,
    pb.CANCELLED: Cancelled,
    pb.UNAVAILABLE: Unavailable,
    pb.MODEL_FAILED: ModelFailed,
    pb.SEQUENCE_FULL: SequenceFull,
}

#: Of a call that ended. UNKNOWN and the like are the transport's own.
STATUSES: Mapping[grpc.StatusCode, type[HeadraceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: UnknownModel,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.INTERNAL: ModelFailed,
}

#: Trailing metadata that says when to try again.
_PUSHBACK = "grpc-retry-pushback-ms"

#: Nothing was applied, and the same step may succeed a little later.
RETRIED = (Overloaded, Unavailable)

#: After these the sequence is gone for this client, whatever step they answer.
FATAL = (UnknownSequence, TakenOver)


def from_wire(error: pb.Error) -> HeadraceError:
    """A code of a newer server, unknown here, becomes a plain HeadraceError."""
    return EXCEPTIONS.get(error.code, HeadraceError)(
        error.message or pb.ErrorCode.Name(error.code),
        expected_position=error.expected_position if error.HasField("expected_position") else None,
        retry_after=error.retry_after_ms / 1000 if error.HasField("retry_after_ms") else None,
    )


def from_status(
    status: grpc.StatusCode, details: str | None, metadata: Iterable[tuple[str, str | bytes]] | None
) -> HeadraceError:
    """Of a call that ended with anything but OK."""
    pause = next((int(value) for name, value in metadata or () if name == _PUSHBACK), None)
    return STATUSES.get(status, HeadraceError)(
        details or status.name, retry_after=None if pause is None else pause / 1000
    )


def again(error: HeadraceError) -> HeadraceError:
    """The same error for one more caller: raised twice, one object would collect both tracebacks."""
    return type(error)(str(error), expected_position=error.expected_position, retry_after=error.retry_after)
