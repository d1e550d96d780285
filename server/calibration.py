"""What was measured of a model on this machine: its batch limits and lanes, kept in the user's cache.

Only a hint: a file that is missing, unreadable or of another machine leaves the defaults in place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from headrace.foreign import FOREIGN_FILE
from headrace.spec import ModelSpec

from .cost import Cost
from .device import Device, runtime_version
from .limits import Limits
from .machine import cpu_name
from .settings import Settings

log = logging.getLogger(__name__)

Count = Annotated[int, Field(ge=1)]

#: Rows of the largest batch that is measured; an arena has free slots for so many.
MOST_ROWS: dict[Device, int] = {"CPU": 512, "CUDA": 4096}

#: Time steps of prompts in a tick of a model with caches: of all of them, of one that is alone, and of each of several.
PROMPTS, PROMPT, PART = 256, 128, 64

#: Another number for every change of the server that moves the knee, so that all is measured anew.
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Key:
    """What a calibration holds for. model: SHA-256 of the file, and of the `model.toml` beside it if there is one."""

    model: str
    cpu: str
    runtime: str
    device: str
    format: int = FORMAT

    @classmethod
    def of(cls, file: Path, device: Device) -> Key:
        """Of a model file on this machine. Raises OSError if it cannot be read."""
        return cls(_digest(file), cpu_name(), runtime_version(), device)

    def place(self, cache: Path) -> Path:
        name = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
        return cache / "calibration" / f"{name[:32]}.json"


class Calibration(BaseModel):
    """rows and tokens: a batch's limits; lanes: how many one process can keep busy, given the cores; curve: CPU
    seconds of a tick by its rows, or its time steps, of which they were read off; cost: of a batch without states."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    rows: Count = Limits().rows
    tokens: Count = Limits().tokens
    lanes: Count = 1
    curve: tuple[tuple[Count, float], ...] = ()
    cost: Cost = Cost()


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    key: Key
    calibration: Calibration


def bounds(settings: Settings, spec: ModelSpec, device: Device, found: Calibration) -> Limits:
    """Of each lane: as the settings say, else as measured; a model may itself bound the rows."""
    if spec.caches:
        return with_caches(settings)
    most = spec.chunk.rows or settings.batch_rows or MOST_ROWS[device]
    return Limits(
        rows=min(settings.batch_rows or found.rows, most),
        tokens=settings.batch_tokens or found.tokens,
        sequences=settings.sequences,
        idle=settings.idle_seconds,
        kept_bytes=settings.kept_bytes,
        most_rows=most,
        cost=found.cost,
    )


def with_caches(settings: Settings) -> Limits:
    """Of models with caches: nothing is measured of them yet. A tick takes PROMPTS tokens of prompts, beside one of
    each running sequence: as many cost some rows' tokens more than the rows themselves; of a single prompt half."""
    base = Limits()
    return Limits(
        rows=settings.batch_rows or base.rows,
        tokens=settings.batch_tokens or PROMPTS,
        sequences=settings.sequences,
        idle=settings.idle_seconds,
        kept_bytes=settings.kept_bytes,
        cache_bytes=settings.cache_bytes,
        part=PART,
        few=PROMPT,
    )


def user_cache() -> Path:
    """headrace in the user's cache folder, after the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "headrace"


def find(cache: Path, key: Key) -> Calibration | None:
    """What is kept for the key; None if nothing is, or it cannot be read, which is logged."""
    place = key.place(cache)
    try:
        entry = _Entry.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("%s is no calibration and is ignored: %s", place, error)
        return None
    return entry.calibration if entry.key == key else None


def keep(cache: Path, key: Key, calibration: Calibration) -> None:
    """Whole or not at all, whoever reads or writes meanwhile. Raises OSError if it cannot be written."""
    place = key.place(cache)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(f".{os.getpid()}")
    draft.write_text(_Entry(key=key, calibration=calibration).model_dump_json(indent=1))
    draft.replace(place)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    for part in (file, file.with_name(FOREIGN_FILE)):
        if part.exists():
            with part.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
