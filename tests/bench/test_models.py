"""`make models` trains and exports what is missing, leaves what is done, and its page tells what the files say."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from headrace import training
from headrace.bench.models import make
from headrace.contract import read_model

TASKS = ("sunspots-markov",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/, models/ and the page of a task that needs no training."""
    folder = tmp_path_factory.mktemp("made")
    again(folder)
    return folder


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
        assert f"## {task}\n" in page and f"![learning curve of {task}](pictures/{task}.png)" in page
        assert (folder / "docs" / "pictures" / f"{task}.png").read_bytes().startswith(b"\x89PNG")


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
