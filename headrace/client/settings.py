"""The client's dials."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from headrace.errors import ConfigurationError

#: gRPC counts some of them in an int32 of milliseconds.
Seconds = Annotated[float, Field(gt=0, le=1_000_000)]


class Settings(BaseModel):
    """Refuses unknown names and reports every wrong value at once (ConfigurationError). Times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect_timeout: Seconds = 5.0
    """How long `async with connect(...)` waits for a server that does not answer."""
    patience: Annotated[float, Field(gt=0)] = 30.0
    """Timeout of a step that names none, or inf: so long it is queued, retried and sent again before it fails."""
    grace: Seconds = 0.5
    """After a sent step's timeout: so long its caller still waits for the server's own verdict."""
    retry_after: Seconds = 0.05
    """Pause before a retry where the server gave no hint."""
    backoff_first: Seconds = 0.05
    """Longest pause before the first attempt to reconnect; it doubles up to `backoff_longest`, each drawn at random."""
    backoff_longest: Seconds = 2.0
    keepalive: Seconds = 20.0
    """A connection on which nothing came for so long is asked for a sign of life; twice this without one, and it is
    made anew. Servers of Headrace allow one question in 5 s."""
    pipeline: int = Field(default=8, ge=1)
    """Steps of one sequence under way at once; the server keeps the replies to as many for re-sends."""
    frame_bytes: int = Field(default=2 << 20, ge=1)
    """Size of a request frame, unless the server takes only smaller ones; a step that fits into none is refused."""
    reply_bytes: int = Field(default=64 << 20, ge=1)
    """Size of the largest reply frame that is accepted."""

    @model_validator(mode="wrap")
    @classmethod
    def _problems_are_ours(cls, given: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return check(given)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigurationError(f"the client's settings: {wrong}") from error
