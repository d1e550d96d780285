"""Every error that a user of Headrace can meet. The server answers them per row, the client raises them.

HeadraceError
├── InvalidInput        the step itself is wrong: shape, dtype, length, token id, NaN; re-sending it cannot help
├── UnknownModel        no such model or version is served here
├── UnknownSequence     never opened on this connection, closed, or expired: open it (again)
├── AlreadyExists       a fresh open of a sequence that is live
├── WrongPosition       the step is ahead of or behind the sequence; carries the position that is expected
├── TakenOver           another open took the sequence: it has one owner at a time
├── SequenceFull        the sequence is as long as the model takes; begin another one
├── Overloaded          a bound is reached: back off and retry; carries a hint after how long
├── DeadlineExceeded    the step's time ran out: told by the server, it was not applied; told by the client for want of
│                       an answer, the sequence's position will tell
├── Cancelled           the step was cancelled before it was computed; nothing was applied
├── Unavailable         the server cannot commit now (draining, journal failing); retry here or on another replica
├── ModelFailed         the model could not compute this row (runtime error, non-finite state); state as before
└── ConfigurationError  a model file, spec, checkpoint, folder, port or setting that cannot be used as it is

`headrace.protos` numbers the same tree as `ErrorCode`; one table in the server's `rpc` package maps it to the wire.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of all. `str(error)` is one sentence that says what is wrong and what to do."""

    #: Position at which the sequence stands, in time steps, where that is known; a step must begin there.
    expected_position: int | None = None
    #: Seconds after which a retry makes sense, where the server can tell.
    retry_after: float | None = None

    def __init__(self, message: str, *, expected_position: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.expected_position = expected_position
        self.retry_after = retry_after


class InvalidInput(HeadraceError):
    """Shape, dtype, length, vocabulary or finiteness of a step is wrong."""


class UnknownModel(HeadraceError):
    """No model of that name, or not that version of it, is served."""


class UnknownSequence(HeadraceError):
    """The sequence was never opened, was closed, or expired."""


class AlreadyExists(HeadraceError):
    """A fresh open named a sequence that is live under another incarnation."""


class WrongPosition(HeadraceError):
    """The step does not begin where the sequence stands; see `expected_position`."""


class TakenOver(HeadraceError):
    """Another connection resumed or replaced the sequence."""


class SequenceFull(HeadraceError):
    """With the step the sequence would have more time steps than the model takes; it stands as before."""


class Overloaded(HeadraceError):
    """A bound (sequences, queued rows, kept replies) is reached; see `retry_after`."""


class DeadlineExceeded(HeadraceError):
    """The deadline of the step passed before it was computed, or before its answer came."""


class Cancelled(HeadraceError):
    """The step was cancelled before it was computed."""


class Unavailable(HeadraceError):
    """The server cannot take or commit steps now."""


class ModelFailed(HeadraceError):
    """The model failed on this row."""


class ConfigurationError(HeadraceError):
    """Something on this machine (file, folder, port, setting) cannot be used as it is."""
