"""The server's settings: few dials, the rest is derived. Unknown keys are refused, all problems told at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.errors import ConfigurationError

from .limits import Limits

BOUNDS = Limits()

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Measured = Annotated[int | None, Field(ge=1)]
"""None: what calibration found best on this machine (calibration.py)."""


class Settings(BaseModel):
    """Defaults suit a laptop; a port of 0 takes any free one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    models: Path = Path("models")
    """Folder of <name>/<version>/model.onnx."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: Port = 8001
    """For gRPC: frames and the Open Inference Protocol."""
    metrics_port: Port = 8002
    """For HTTP: /metrics and /healthz."""
    transport: Literal["auto", "nghttp2", "grpcio"] = "auto"
    """What speaks gRPC: nghttp2 where it is installed, else grpcio's own server, which costs more."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA if it can be used, else the CPU."""
    lanes: Measured = None
    """Threads for each model version, each with its own session and arena; measured by default."""
    batch_rows: Measured = None
    """Rows in a batch; measured by default."""
    batch_tokens: Measured = None
    """Time steps in a batch, unless a single row has more; measured by default."""
    cache: Path | None = None
    """Folder where measured settings are kept; by default headrace in the user's own cache."""
    sequences: Positive = BOUNDS.sequences
    """Live sequences of each lane."""
    idle_seconds: Annotated[float, Field(gt=0)] = BOUNDS.idle
    """A sequence unused for so long expires."""
    queued_rows: Positive = 32_768
    """Admitted and unanswered rows of each model."""
    connection_rows: Positive = 8_192
    """Admitted and unanswered rows of each connection."""
    frame_bytes: Positive = 4 << 20
    """Largest request message."""
    kept_bytes: Positive = BOUNDS.kept_bytes
    """Of replies that wait for acknowledgement, for each lane."""
    cache_bytes: Positive = BOUNDS.cache_bytes
    """Of keys and values that decoders keep, for each lane."""
    drain_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How long a stopping server waits for what it admitted."""

    @property
    def measures(self) -> bool:
        """Whether anything is left to calibration."""
        return None in (self.lanes, self.batch_rows, self.batch_tokens)

    @property
    def frame_rows(self) -> int:
        """A connection cannot have more rows under way than its model takes."""
        return min(self.connection_rows, self.queued_rows)

    @classmethod
    def load(cls, file: Path | None, given: dict[str, Any]) -> Settings:
        """From a TOML file, if any, overridden by what is given. Raises ConfigurationError with every problem."""
        try:
            written = tomllib.loads(file.read_text()) if file else {}
            return cls(**{**written, **given})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{file} cannot be read as settings: {error}") from error
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigurationError(f"settings: {wrong}") from error
