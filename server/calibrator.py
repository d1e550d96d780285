"""Measures, beside the server, the models whose limits were never measured on this machine."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .calibration import Calibration, Key, bounds, find, user_cache
from .commands import Barrier
from .models import Model, Models
from .settings import Settings

log = logging.getLogger(__name__)

#: Seconds between looks for the first answer.
INTERVAL = 1.0

#: Seconds from the first answer on: whoever came first is served before anything is measured.
PAUSE = 10.0

#: Seconds until a measurement, which gives way to everything else, is given up.
PATIENCE = 300.0

Measure = Callable[[Path, str, Path], Awaitable[None]]
"""Measures a model file on a device and keeps the result in a cache. Raises OSError or TimeoutError."""


async def measured(file: Path, device: str, cache: Path) -> None:
    """In a process of its own (measure.py): one that has a low priority cannot hold the interpreter from the lanes."""
    command = [sys.executable, "-m", "headrace.server.measure", str(file), device, str(cache)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise OSError(said.decode(errors="replace").strip().rpartition("\n")[2])


@dataclass(frozen=True, slots=True)
class Calibrator:
    """answered: whether any step was; measure, sleep (seconds): as the tests want them."""

    settings: Settings
    models: Models
    answered: Callable[[], bool]
    measure: Measure = measured
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self) -> None:
        """Until all are measured. What is found holds at once for the batches, for the lanes from the next start on."""
        if not self.settings.measures:
            return
        while not self.answered():
            await self.sleep(INTERVAL)
        await self.sleep(PAUSE)
        for model in (each for each in self.models if not each.spec.caches):  # their limits are not measured
            try:
                await self._calibrate(model)
            except (OSError, TimeoutError) as error:
                log.warning("%s keeps its limits, they could not be measured: %s", named(model), error)

    async def _calibrate(self, model: Model) -> None:
        cache = self.settings.cache or user_cache()
        file = self.settings.models / model.spec.name / model.version / "model.onnx"
        key = await asyncio.to_thread(Key.of, file, model.device)
        if find(cache, key) is None:
            await self.measure(file, model.device, cache)
        found = find(cache, key)
        if found is not None:  # also where another server, or the same file under another version, came first
            self._apply(model, found)

    def _apply(self, model: Model, found: Calibration) -> None:
        """Each lane changes its own limits, between two batches."""
        limits = bounds(self.settings, model.spec, model.device, found)
        log.info("%s: measured batches of %d rows and %d time steps", named(model), limits.rows, limits.tokens)
        for lane in model.lanes:
            lane.post(Barrier(partial(lane.state.scheduler.limit, limits.rows, limits.tokens, limits.cost)))


def named(model: Model) -> str:
    """For operators."""
    return f"{model.spec.name}/{model.version}"
