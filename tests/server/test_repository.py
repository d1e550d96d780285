"""The models folder: what is served, and that nothing is left running where something cannot be."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from prometheus_client import CollectorRegistry

from headrace.contract import read_model, with_spec
from headrace.errors import ConfigurationError
from headrace.server.calibration import Calibration, Key, keep
from headrace.server.journal import NoJournal
from headrace.server.machine import cores
from headrace.server.metrics import Metrics
from headrace.server.models import Models
from headrace.server.repository import find_files, load
from headrace.server.settings import Settings
from headrace.spec import PAST, Cache, Chunk

from .fakes import Clock
from .foreign_graphs import ALONE, Stranger


def loaded(folder: Path, sequences: int = 8, cache: Path | None = None) -> Models:
    settings = Settings(models=folder, sequences=sequences, cache=cache)
    return load(settings, NoJournal(), Metrics(CollectorRegistry()), lambda deliver: lambda answers: None, Clock())


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


def test_lanes_and_limits_are_those_that_were_measured_here(folder: Path) -> None:
    file, cache = folder / "tiny-gru" / "1" / "model.onnx", folder.with_name("cache")
    keep(cache, Key.of(file, "CPU"), Calibration(rows=96, tokens=5000, lanes=2))
    (model,) = served = loaded(folder, cache=cache)
    served.stop()
    assert len(model.lanes) == min(2, cores())
    assert [(lane.state.scheduler.rows, lane.state.scheduler.tokens) for lane in model.lanes] == [(96, 5000)] * len(
        model.lanes
    )


def test_a_corrupt_model_leaves_no_lane_of_the_others_running(folder: Path) -> None:
    (folder / "tiny-lm" / "1").mkdir(parents=True)
    (folder / "tiny-lm" / "1" / "model.onnx").write_bytes(b"no model")
    before = lane_threads()
    with pytest.raises(ConfigurationError, match="tiny-lm"):
        loaded(folder)
    assert lane_threads() == before


@pytest.mark.parametrize(("name", "what"), [("tiny-gru", "state h"), ("tiny-encoder", "the tables")])
def test_more_sequences_than_memory_holds_are_refused_with_what_they_take(
    models: Path, tmp_path: Path, name: str, what: str
) -> None:
    shutil.copytree(models / name, tmp_path / name)
    before = lane_threads()
    with pytest.raises(ConfigurationError, match=rf"{what}.* 1{'0' * 11}.* take.* GB.*--sequences"):
        loaded(tmp_path, sequences=10**15)
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


def placed(folder: Path, stranger: Stranger, toml: str, name: str = "stranger") -> Path:
    place = folder / name / "1"
    place.mkdir(parents=True)
    onnx.save(stranger.model, place / "model.onnx")
    (place / "model.toml").write_text(toml)
    return place


ALONE_TOML = """
chunk.longest = 8
inputs = [{name = "x", axes = ["time"]}]
outputs = [{name = "y", axes = ["time"]}]
states = [{name = "h", input = "h", output = "h_new", axes = [3]}]
"""


def test_a_model_of_somebody_else_is_served_as_the_file_beside_it_says(tmp_path: Path) -> None:
    placed(tmp_path, ALONE, ALONE_TOML)
    served = loaded(tmp_path)
    model = served.find("stranger")
    assert model.spec.chunk == Chunk(longest=8, rows=1)
    assert [len(lane.state.slots) for lane in model.lanes] == [8 + 2]  # one row a batch: one is written, one under way
    served.stop()


@pytest.mark.parametrize(
    ("toml", "messages"),
    [
        ("chunk = ", ["model.toml cannot be read"]),
        (ALONE_TOML.replace("[3]", "[4]"), ["model.toml: state h: axes [4] do not fit h, which is float32 [3]"]),
        (ALONE_TOML.replace("8", "0") + "colour = 1", ["chunk.longest: ", "colour: "]),
        (ALONE_TOML + 'name = "other"', ["move it to other/1"]),
        (
            ALONE_TOML.replace('axes = ["time"]}]\nstates', 'axes = ["time", 3]}]\nstates'),
            ["a first run of Batch(rows=1, tokens=8) failed"],
        ),
    ],
)
def test_a_file_beside_that_does_not_fit_is_named_with_every_problem(
    tmp_path: Path, toml: str, messages: list[str]
) -> None:
    placed(tmp_path, ALONE, toml)
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path)
    assert all(message in str(caught.value) for message in messages)


def test_two_files_that_say_how_to_serve_are_one_too_many(folder: Path) -> None:
    (folder / "tiny-gru" / "1" / "model.toml").write_text(ALONE_TOML)
    with pytest.raises(ConfigurationError, match="remove one of them"):
        loaded(folder)


def test_a_model_of_somebody_else_without_a_file_beside_it_is_told_what_is_missing(tmp_path: Path) -> None:
    (placed(tmp_path, ALONE, "") / "model.toml").unlink()
    with pytest.raises(ConfigurationError, match="`headrace adopt` drafts one"):
        loaded(tmp_path)


def test_a_graph_that_lacks_the_nodes_of_its_caches_is_refused(folder: Path) -> None:
    model, spec = read_model(folder / "tiny-gru" / "1" / "model.onnx")
    growing = spec.model_copy(
        update={"name": "decoder", "caches": (Cache(name="layer", heads=1, width=2),), "longest": 9}
    )
    model.graph.input.append(helper.make_tensor_value_info(PAST, TensorProto.INT64, ["rows"]))
    (folder / "decoder" / "1").mkdir(parents=True)
    onnx.save(with_spec(model, growing), folder / "decoder" / "1" / "model.onnx")
    with pytest.raises(ConfigurationError, match="one attention node for each cache"):
        loaded(folder)
