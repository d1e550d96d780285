"""A task by its name: trained, scored, published, read back; on the real data, with the shortest real budget."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from rich.console import Console

from headrace.errors import ConfigurationError
from headrace.spec import Score
from headrace.training import TASKS, load, run
from headrace.training.checkpoint import read, write
from headrace.training.runs import verdict


@pytest.fixture(scope="module")
def told() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, told: io.StringIO) -> Path:
    """`vowels-rnn` after a quick run."""
    return run("vowels-rnn", out=tmp_path_factory.mktemp("runs"), quick=True, console=Console(file=told))


def test_the_published_model_reaches_its_score(published: Path) -> None:
    model, spec = load(published)
    assert (spec.name, spec.stateful, model.training) == ("vowels-rnn", True, False)
    [score] = spec.scores
    assert 0.85 < score.value < 1 and score.gate is None and score.published == "94 to 96 %"
    assert json.loads((published.parent / "scores.json").read_text())[0]["value"] == score.value
    assert (published.parent / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_progress_and_score_are_told(published: Path, told: io.StringIO) -> None:
    assert "vowels-rnn, seed 0" in told.getvalue()
    [score] = load(published)[1].scores
    assert f"vowels-rnn: accuracy {score.value:.3f} (published: 94 to 96 %)" in told.getvalue()


@pytest.mark.parametrize(
    ("value", "better", "end"),
    [(0.92, "higher", "reached"), (0.91, "higher", "MISSED"), (0.92, "lower", "reached"), (0.93, "lower", "MISSED")],
)
def test_a_verdict_says_whether_the_gate_is_reached(value: float, better: Literal["higher", "lower"], end: str) -> None:
    assert verdict(Score(metric="m", value=value, better=better, gate=0.92, data="d")).endswith(f"gate 0.92 {end}")


def test_a_second_run_goes_on_where_the_first_ended(published: Path) -> None:
    before = (published.parent / "quick-seed-0.pt").read_bytes()
    run("vowels-rnn", out=published.parent.parent, quick=True, console=Console(file=io.StringIO()))
    assert (published.parent / "quick-seed-0.pt").read_bytes() == before


def test_threads_are_given_back(published: Path) -> None:
    before = torch.get_num_threads()
    run("vowels-rnn", out=published.parent.parent, quick=True, console=Console(file=io.StringIO()), threads=before + 1)
    assert torch.get_num_threads() == before


def test_an_unknown_task_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown task 'vowels'; there are vowels-gru, vowels-lstm") as error:
        run("vowels", out=tmp_path, quick=True)
    assert all(task in str(error.value) for task in TASKS)


def test_an_unfinished_run_is_not_a_model(published: Path) -> None:
    with pytest.raises(ConfigurationError, match="not finished"):
        load(published.parent / "quick-seed-0.pt")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"kind": "lstm"}, "says it is of a recurrent-classifier"),
        ({"architecture": "transducer"}, "unknown architecture 'transducer'"),
        ({"architecture": "encoder-classifier"}, "cannot be built"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(
    published: Path, tmp_path: Path, changes: dict[str, str], refusal: str
) -> None:
    content = read(published)
    content["identity"]["model"] |= changes
    write(tmp_path / "x.pt", content)
    with pytest.raises(ConfigurationError, match=refusal):
        load(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "garbled",
    [
        {"identity": {"task": "vowels-rnn"}},
        {"identity": 7},
        {"identity": {"task": "vowels-rnn", "model": "?"}},
        {"identity": {"task": "vowels-rnn", "model": {"architecture": "recurrent-classifier", "colour": 1}}},
        {"model": 7},
        {"scores": ["{}"]},
        {"scores": 7},
    ],
)
def test_a_garbled_checkpoint_is_refused(published: Path, tmp_path: Path, garbled: dict[str, object]) -> None:
    write(tmp_path / "x.pt", {**read(published), **garbled})
    with pytest.raises(ConfigurationError):
        load(tmp_path / "x.pt")


def test_a_full_run_passes_its_gate_and_publishes_by_the_selection_slice(tmp_path: Path) -> None:
    path = run("vowels-gru", out=tmp_path, quick=False, console=Console(file=io.StringIO()))
    own, middle = load(path)[1].scores
    assert (middle.metric, middle.gate) == ("accuracy, median of 3 seeds", 0.92) and own.gate is None
    assert middle.value >= 0.92
    seeds = {n: read(path.parent / f"full-seed-{n}.pt") for n in range(3)}
    best = min(seeds, key=lambda n: min(selection for _, selection in seeds[n]["history"]))
    assert read(path)["identity"]["seed"] == best
    with pytest.raises(ConfigurationError, match="holds a full run"):
        run("vowels-gru", out=tmp_path, quick=True, console=Console(file=io.StringIO()))
    assert read(path)["identity"]["seed"] == best
