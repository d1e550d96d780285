"""Publishing: all or nothing, never over something, and the spec comes back from the file."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest

from headrace.errors import ConfigurationError
from headrace.export.publish import publish
from headrace.export.runners import versions
from headrace.spec import METADATA_KEY, ModelSpec, Parity, Score

from .conftest import Traced


@pytest.fixture
def tiny(traced: Mapping[str, Traced]) -> Traced:
    return traced["tiny-gru"]


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_spec_comes_back_from_the_file(tiny: Traced, tmp_path: Path) -> None:
    score = Score(metric="accuracy", value=0.9, better="higher", data="none")
    added = {"parity": Parity(error=1e-7, cases=3), "versions": versions(), "scores": (score,)}
    spec = tiny.spec.model_copy(update=added)
    path = publish(tiny.graph, spec, tmp_path)
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    assert ModelSpec.from_json(entry.value) == spec
    assert spec.versions["torch"].startswith("2.")


def test_versions_count_up_and_others_do_not_disturb(tiny: Traced, tmp_path: Path) -> None:
    made = [publish(tiny.graph, tiny.spec, tmp_path, version) for version in (None, "9", "beta", None)]
    assert [path.parent.name for path in made] == ["1", "9", "beta", "10"]
    assert everything(tmp_path / "tiny-gru") == sorted(
        [*"19", "10", "beta", *(f"{v}/model.onnx" for v in ("1", "10", "9", "beta"))]
    )


@pytest.mark.parametrize("there", ["folder", "empty folder", "file"])
def test_what_is_there_is_never_overwritten(tiny: Traced, tmp_path: Path, there: str) -> None:
    target = tmp_path / "tiny-gru" / "1"
    target.parent.mkdir()
    if there == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        if there == "folder":
            (target / "model.onnx").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(ConfigurationError, match="never overwritten"):
        publish(tiny.graph, tiny.spec, tmp_path, "1")
    assert everything(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_named(tiny: Traced, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file, where the folder should be")
    with pytest.raises(ConfigurationError, match=r"models/tiny-gru cannot be written \(.*\): make it writable"):
        publish(tiny.graph, tiny.spec, tmp_path / "models")


@pytest.mark.parametrize("version", ["", "../1", "a/b", ".hidden", "two words"])
def test_versions_are_plain_names(tiny: Traced, tmp_path: Path, version: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a version"):
        publish(tiny.graph, tiny.spec, tmp_path, version)
    assert everything(tmp_path) == []


def test_a_spec_that_does_not_fit_is_refused(tiny: Traced, traced: Mapping[str, Traced], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not fit its spec"):
        publish(tiny.graph, traced["tiny-lstm"].spec, tmp_path)
    assert everything(tmp_path) == []


def test_an_invalid_graph_is_refused(tiny: Traced, tmp_path: Path) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(tiny.graph)
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ConfigurationError, match="not valid ONNX"):
        publish(broken, tiny.spec, tmp_path)
    assert everything(tmp_path) == []


def test_a_spec_that_nobody_could_read_is_not_published(tiny: Traced, tmp_path: Path) -> None:
    spec = tiny.spec.model_copy(update={"name": "two words"})  # copies are not validated
    with pytest.raises(ConfigurationError, match="cannot be used: name"):
        publish(tiny.graph, spec, tmp_path)
    assert everything(tmp_path) == ["two words"]


@contextmanager
def small_files() -> Iterator[None]:
    """As on a disk that is nearly full: no file may grow beyond 1,000 bytes.

    Not a fixture: the limit must be gone when pytest reports the test, for its own output may be such a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_half_a_file_is_never_left_behind(tiny: Traced, tmp_path: Path) -> None:
    with small_files(), pytest.raises(ConfigurationError, match="cannot be written"):
        publish(tiny.graph, tiny.spec, tmp_path)
    assert everything(tmp_path) == ["tiny-gru"]


def test_others_may_read_it(tiny: Traced, tmp_path: Path) -> None:
    path = publish(tiny.graph, tiny.spec, tmp_path)
    assert path.parent.stat().st_mode & 0o555 == 0o555
    assert path.stat().st_mode & 0o444 == 0o444
