"""The models folder: what is served, and that nothing is left running where something cannot be."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from headrace.errors import ConfigurationError
from headrace.server.journal import NoJournal
from headrace.server.metrics import Metrics
from headrace.server.models import Models
from headrace.server.repository import find_files, load
from headrace.server.settings import Settings

from .fakes import Clock


def loaded(folder: Path) -> Models:
    settings = Settings(models=folder, sequences=8)
    return load(settings, NoJournal(), Metrics(CollectorRegistry()), lambda deliver, answers: None, Clock())


def lane_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("lane ")}


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """One sound model, the first by name."""
    shutil.copytree(models / "tiny-gru", tmp_path / "tiny-gru")
    return tmp_path


def test_what_is_loaded_runs_until_it_is_stopped(folder: Path) -> None:
    before = lane_threads()
    served = loaded(folder)
    assert [thread.name for thread in lane_threads() - before] == ["lane tiny-gru/1"]
    assert served.ready and served.find("tiny-gru").version == "1"
    served.stop()
    assert lane_threads() == before


def test_a_corrupt_model_leaves_no_lane_of_the_others_running(folder: Path) -> None:
    (folder / "tiny-lm" / "1").mkdir(parents=True)
    (folder / "tiny-lm" / "1" / "model.onnx").write_bytes(b"no model")
    before = lane_threads()
    with pytest.raises(ConfigurationError, match="tiny-lm"):
        loaded(folder)
    assert lane_threads() == before


def test_a_model_in_the_place_of_another_is_refused(folder: Path) -> None:
    (folder / "tiny-gru").rename(folder / "renamed")
    with pytest.raises(ConfigurationError, match="move it to tiny-gru/1"):
        loaded(folder)


def test_versions_that_are_still_being_written_are_not_served(folder: Path) -> None:
    shutil.copytree(folder / "tiny-gru" / "1", folder / "tiny-gru" / ".2")
    assert find_files(folder) == [folder / "tiny-gru" / "1" / "model.onnx"]


def test_a_folder_without_models_says_what_to_do(tmp_path: Path) -> None:
    for nothing in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match="headrace export"):
            loaded(nothing)
