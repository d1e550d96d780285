"""The client's dials."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat


class Settings(BaseModel):
    """Refuses unknown names and reports every wrong value at once (pydantic's ValidationError). Times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect_timeout: PositiveFloat = 5.0
    """How long `async with connect(...)` waits for a server that does not answer."""
    patience: PositiveFloat = 30.0
    """Timeout of a step that names none: so long it is queued, retried and re-sent before its caller is told."""
    grace: PositiveFloat = 0.5
    """After a sent step's timeout: so long its caller still waits for the server's own verdict."""
    retry_after: PositiveFloat = 0.05
    """Pause before a retry where the server gave no hint."""
    backoff_first: PositiveFloat = 0.05
    """Longest pause before the first attempt to reconnect; it doubles up to `backoff_longest`, each drawn at random."""
    backoff_longest: PositiveFloat = 2.0
    keepalive: PositiveFloat = 20.0
    """A connection on which nothing came for so long is asked for a sign of life; twice this without one, and it is
    made anew. Servers of Headrace allow one question in 5 s."""
    pipeline: int = Field(default=8, ge=1)
    """Steps of one sequence under way at once; the server keeps the replies to as many for re-sends."""
    frame_bytes: int = Field(default=2 << 20, ge=1)
    """Size of a request frame's tensors; a step larger than that is refused."""
    reply_bytes: int = Field(default=64 << 20, ge=1)
    """Size of the largest reply frame that is accepted."""
