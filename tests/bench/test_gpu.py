"""The measurement on a GPU: what it says without one, and its ways of calling tried on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from headrace.bench.gpu import gpu, hosted, limits, resident, sweep
from headrace.bench.gpu_models import CELLS, Job, of
from headrace.bench.roofline import Cost, Roof, Work, matrices
from headrace.contract import read_model
from headrace.export import export_model
from headrace.training.models import Decoder

ROOF = Roof(rate=1e9, bandwidth=1e8)


def made(models: Path, name: str) -> Job:
    return of(*read_model(models / name / "1" / "model.onnx"))


def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu(tmp_path, missing=lambda: "there is no driver") == []
    assert capsys.readouterr().out == "no GPU: there is no driver\n"


def test_the_limit_is_whichever_takes_longer() -> None:
    assert (Work(2e9, 1e8).limit(ROOF), Work(2e9, 1e8).bound(ROOF)) == (2.0, "matrix rate")
    assert (Work(1e9, 5e8).limit(ROOF), Work(1e9, 5e8).bound(ROOF)) == (5.0, "memory bandwidth")


def test_weights_are_read_once_a_call_and_used_once_a_token() -> None:
    assert Cost(weights=100, attention=50, kept=8).of(rows=3, tokens=6) == Work(6 * 250, 400 + 24)


def test_matrices_are_counted_without_tables(models: Path) -> None:
    """Two LSTM layers of 8 on 3 features, each with one row of biases, and a head of 3."""
    layers = 4 * 8 * (3 + 8) + 4 * 8 * (8 + 8) + 2 * (2 * 4 * 8)
    assert matrices(read_model(models / "tiny-lstm" / "1" / "model.onnx")[0]) == layers + 3 * 8


def test_states_on_the_device_and_on_the_host_are_both_measured(models: Path) -> None:
    found = sweep("tiny", made(models, "tiny-lstm"), "CPU", ROOF, (1, 4))
    assert [figure.name for figure in found] == [
        f"tiny, batch {rows}, state on the {place}" for rows in (1, 4) for place in ("device", "host")
    ]
    assert all(figure.value > 0 and "allows" in figure.note for figure in found)


def test_a_model_without_state_is_measured_once(models: Path) -> None:
    (figure,) = sweep("tiny", made(models, "tiny-encoder"), "CPU", ROOF, (2,))
    assert figure.name == "tiny, batch 2, state none"


def test_a_decoder_runs_with_its_caches(tmp_path: Path) -> None:
    model = Decoder("abcd", 8, 2, 1, longest=2 * CELLS).eval()
    export_model(model, model.describe("tiny"), tmp_path, version="1", quick=True, console=Console(quiet=True))
    decoder = made(tmp_path, "tiny")
    assert len(decoder.kept) == 2
    resident(decoder, 2, "CPU")()
    hosted(decoder, 2, "CPU")()


def test_limits_are_measured() -> None:
    roof = limits("CPU", 32, 1024)
    assert roof.rate > 0 and roof.bandwidth > 0
