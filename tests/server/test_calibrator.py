"""When models are measured, and what becomes of it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headrace.server.calibration import Calibration, Key, find, keep
from headrace.server.calibrator import INTERVAL, PAUSE, Calibrator, measured
from headrace.server.journal import NoJournal
from headrace.server.metrics import Metrics
from headrace.server.models import Models
from headrace.server.repository import load
from headrace.server.settings import Settings

from .fakes import Clock

FOUND = Calibration(rows=7, tokens=70, lanes=3)


@dataclass
class Day:
    """The first answer comes after some looks; time passes by sleeping alone. `events` is what happened, in order."""

    looks: int = 2
    fails: tuple[str, ...] = ()
    events: list[object] = field(default_factory=list)

    def answered(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    async def sleep(self, seconds: float) -> None:
        self.events.append(seconds)

    async def measure(self, file: Path, device: str, cache: Path) -> None:
        name = file.parent.parent.name
        self.events.append(name)
        if name in self.fails:
            raise OSError("scripted")
        keep(cache, Key.of(file, "CPU"), FOUND)


@pytest.fixture
def settings(models: Path, tmp_path: Path) -> Settings:
    for name in ("tiny-gru", "tiny-lm"):
        shutil.copytree(models / name, tmp_path / "models" / name)
    return Settings(models=tmp_path / "models", cache=tmp_path / "cache", device="cpu", sequences=8)


@pytest.fixture
def served(settings: Settings) -> Iterator[Models]:
    models = load(settings, NoJournal(), Metrics.unseen(), lambda deliver: lambda answers: None, Clock())
    yield models
    models.stop()


def limits(models: Models) -> list[int]:
    """Rows of each model's first lane, once its thread is gone and all that it was told is done."""
    models.stop()
    return [model.lanes[0].state.scheduler.rows for model in models]


def run(settings: Settings, models: Models, day: Day) -> list[object]:
    asyncio.run(Calibrator(settings, models, day.answered, day.measure, day.sleep).run())
    return day.events


def test_nothing_is_measured_before_the_first_answer_and_a_while(settings: Settings, served: Models) -> None:
    before = Calibration().rows
    assert [model.lanes[0].state.scheduler.rows for model in served] == [before, before]
    assert run(settings, served, Day()) == [INTERVAL, INTERVAL, PAUSE, "tiny-gru", "tiny-lm"]
    assert limits(served) == [7, 7]


def test_what_was_measured_meanwhile_holds_without_being_measured_again(settings: Settings, served: Models) -> None:
    assert settings.cache
    for file in sorted(settings.models.glob("*/1/model.onnx")):
        keep(settings.cache, Key.of(file, "CPU"), FOUND)  # by another server
    assert run(settings, served, Day(looks=0)) == [PAUSE]
    assert limits(served) == [7, 7]


def test_nothing_is_measured_where_every_limit_is_given(settings: Settings, served: Models) -> None:
    given = settings.model_copy(update={"lanes": 1, "batch_rows": 8, "batch_tokens": 8})
    assert run(given, served, Day()) == []


def test_a_limit_that_is_given_stays(settings: Settings, served: Models) -> None:
    run(settings.model_copy(update={"batch_rows": 5}), served, Day())
    assert limits(served) == [5, 5]


def test_a_model_that_cannot_be_measured_keeps_its_limits(
    settings: Settings, served: Models, caplog: pytest.LogCaptureFixture
) -> None:
    run(settings, served, Day(fails=("tiny-gru",)))
    assert limits(served) == [Calibration().rows, 7]
    assert "tiny-gru/1 keeps its limits" in caplog.text and "scripted" in caplog.text


def test_the_next_start_has_what_was_measured(settings: Settings, served: Models) -> None:
    run(settings, served, Day())
    again = load(settings, NoJournal(), Metrics.unseen(), lambda deliver: lambda answers: None, Clock())
    again.stop()
    assert limits(again) == [7, 7]


def test_a_process_that_cannot_measure_says_why(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^No such file|missing\.onnx.*No such file"):
        asyncio.run(measured(tmp_path / "a" / "1" / "missing.onnx", "CPU", tmp_path))
    assert find(tmp_path, Key("", "", "", "CPU")) is None


def test_no_process_is_left_when_the_server_stops_meanwhile(tmp_path: Path) -> None:
    """The model's file is a pipe: somebody reads it once the process is there, and waits for more."""
    file = tmp_path / "model.onnx"
    os.mkfifo(file)

    async def test() -> None:
        task = asyncio.create_task(measured(file, "CPU", tmp_path))
        with await asyncio.to_thread(file.open, "wb"):
            assert children()
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(asyncio.wait_for(test(), 60))
    assert not children()


def children() -> list[str]:
    """Process ids of this process's children that measure."""
    found = [pid for tasks in Path("/proc/self/task").glob("*/children") for pid in tasks.read_text().split()]
    return [pid for pid in found if b"headrace.server.measure" in Path(f"/proc/{pid}/cmdline").read_bytes()]
