"""`make models` trains and exports what is missing, leaves what is done, and its page tells what the files say."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from headrace import training
from headrace.bench.models import Made, make, write
from headrace.contract import read_model
from headrace.spec import ModelSpec, Score
from headrace.training.loop import Epoch
from headrace.training.models import LatentForecaster
from headrace.training.runs import Record

TASKS = ("sunspots-markov",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/, models/ and the page of a task that needs no training."""
    folder = tmp_path_factory.mktemp("made")
    again(folder)
    return folder


def described(name: str) -> ModelSpec:
    """Of an untrained model that reached its gate."""
    score = Score(metric="RMSE", value=13.5, better="lower", gate=14.5, data="d")
    return LatentForecaster("gru", 2).describe(name).model_copy(update={"scores": (score,)})


def again(folder: Path) -> str:
    told = Console(file=io.StringIO(), width=200)
    make(TASKS, folder / "runs", folder / "models", folder / "docs" / "models.md", told)
    return told.file.getvalue()


def test_the_page_tells_what_the_files_say(folder: Path) -> None:
    page = (folder / "docs" / "models.md").read_text()
    for task in TASKS:
        _, spec = read_model(folder / "models" / task / "1" / "model.onnx")
        (row,) = [line for line in page.splitlines() if line.startswith(f"| [{task}](#{task}) |")]
        assert f"RMSE {spec.scores[0].value:.3f}" in row and f"{spec.parity.error:.0e}" in row
        assert f"## {task}\n\nStateless: forecast the next value" in page
        assert "learning curve" not in page  # it was solved, not learnt


def test_what_was_learnt_has_its_curve(tmp_path: Path) -> None:
    spec = described("sunspots-latent")
    history = [Epoch(1.0, 2.0), Epoch(0.5, 1.5)]
    learnt = Made("sunspots-latent", spec, Path(__file__), Path(__file__), Record(130.0, {0: history, 1: history}))
    write(tmp_path / "models.md", [learnt])
    assert "| 2 min, 2 seeds |" in (tmp_path / "models.md").read_text()
    assert (tmp_path / "pictures" / "sunspots-latent.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_left_as_it_is(folder: Path) -> None:
    files = {path: path.stat().st_mtime_ns for part in ("runs", "models") for path in (folder / part).rglob("*.*")}
    assert "RMSE" not in again(folder)
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert not (folder / "models" / TASKS[0] / "2").exists()


def test_a_newer_checkpoint_is_exported_anew(folder: Path) -> None:
    checkpoint = folder / "runs" / TASKS[0] / "checkpoint.pt"
    training.run(TASKS[0], out=folder / "runs", quick=False, resume=False, console=Console(file=io.StringIO()))
    assert training.finished(TASKS[0], folder / "runs") and checkpoint.exists()
    again(folder)
    assert (folder / "models" / TASKS[0] / "2" / "model.onnx").exists()


def test_a_quick_run_is_not_done(tmp_path: Path) -> None:
    assert not training.finished("vowels-rnn", tmp_path)
    training.run("vowels-rnn", out=tmp_path, quick=True, console=Console(file=io.StringIO()))
    assert not training.finished("vowels-rnn", tmp_path)
