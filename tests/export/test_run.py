"""From a model to a published file, and what stops it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import onnx
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.export import export_checkpoint, export_model
from headrace.export.controls import misordered
from headrace.export.lighter import Lighter, lighter
from headrace.spec import METADATA_KEY, ModelSpec, Score
from headrace.training.checkpoint import write
from headrace.training.models import Config, RecurrentClassifier, SequenceModel
from headrace.training.ragged import State

from ..models import LABELS, untrained


class Deceiver(RecurrentClassifier):
    """Whatever is traced of it differs from what it does."""

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = super().step(x, lengths, state)
        return y + 0.01 * torch.compiler.is_exporting(), state


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of an untrained model, as a finished run would publish it."""
    config: Config = {"kind": "gru", "features": 3, "hidden": 8, "layers": 1, "labels": LABELS}
    score = Score(metric="accuracy", value=0.5, better="higher", data="none")
    content = {
        "identity": {"task": "some-task", "model": {"architecture": "recurrent-classifier", **config}},
        "model": RecurrentClassifier(**config).state_dict(),
        "scores": [score.model_dump_json()],
    }
    write(tmp_path / "checkpoint.pt", content)
    return tmp_path / "checkpoint.pt"


def spec_of(path: Path) -> ModelSpec:
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    return ModelSpec.from_json(entry.value)


def test_a_checkpoint_becomes_a_version_with_its_scores(checkpoint: Path, tmp_path: Path, console: Console) -> None:
    path = export_checkpoint(checkpoint, tmp_path / "models", console=console)
    assert path == tmp_path / "models" / "some-task" / "1" / "model.onnx"
    spec = spec_of(path)
    assert spec.scores[0].value == 0.5
    assert spec.parity is not None and spec.parity.cases == 252


def test_what_is_no_checkpoint_publishes_nothing(tmp_path: Path, console: Console) -> None:
    (tmp_path / "notes.pt").write_text("not a checkpoint")
    with pytest.raises(ConfigurationError, match=r"notes.pt cannot be read as a checkpoint"):
        export_checkpoint(tmp_path / "notes.pt", tmp_path / "models", console=console)
    assert not (tmp_path / "models").exists()


def test_tiny_models_describe_themselves(models: Path) -> None:
    assert sorted(path.name for path in models.iterdir()) == sorted(untrained())
    for name in untrained():
        spec = spec_of(models / name / "1" / "model.onnx")
        assert spec.name == name
        assert spec.parity is not None and 0 < spec.parity.error < 1e-5 and "onnxruntime" in spec.versions


def test_a_failing_grid_publishes_nothing(tmp_path: Path, console: Console) -> None:
    model = Deceiver("gru", 3, 8, 1, LABELS).eval()
    with pytest.raises(ConfigurationError, match=r"log_probabilities at row .* nothing was published"):
        export_model(model, model.describe("deceiver"), tmp_path / "models", console=console)
    assert not (tmp_path / "models").exists()


def test_what_was_done_is_said(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    model = untrained()["tiny-gru"]
    path = export_model(model, model.describe("told"), tmp_path, quick=True, console=console)
    text = console.export_text().replace("\n", "")  # wherever the width of a line broke it
    assert str(path) in text and "24 cases" in text and "gates misordered" in text


def test_a_model_that_cannot_be_ragged_is_refused(tmp_path: Path, console: Console) -> None:
    model = untrained()["tiny-gru"]
    model.extra = nn.LSTM(3, 3)
    with pytest.raises(ConfigurationError, match="extra: LSTM takes padded batches"):
        export_model(model, model.describe("padded"), tmp_path, console=console)
    assert list(tmp_path.iterdir()) == []


def test_a_report_stands_beside_the_model(models: Path) -> None:
    folder = models / "tiny-lstm" / "1"
    page = (folder / "report.md").read_text()
    for words in ("# tiny-lstm", "in 24 cases", "| gates misordered |", "2 LSTM", "bytes, float32", "| torch |"):
        assert words in page
    assert (folder / "parity.png").read_bytes().startswith(b"\x89PNG")


def test_a_smaller_file_has_its_own_name_and_both_scores(tmp_path: Path) -> None:
    model, console = untrained()["tiny-lstm"], Console(record=True, width=200)
    values = iter([0.90, 0.91])

    def judge(_: SequenceModel) -> Score:
        return Score(metric="accuracy", value=next(values), better="higher", data="none")

    lighten = partial(lighter, precision="int8", judge=judge, most=0.05)
    path = export_model(model, model.describe("tiny"), tmp_path, quick=True, lighten=lighten, console=console)
    assert path == tmp_path / "tiny-int8" / "1" / "model.onnx"
    scores = {score.metric: score.value for score in spec_of(path).scores}
    assert scores == {"accuracy": 0.90, "accuracy in float32": 0.91}
    assert "int8: " in console.export_text()
    page, parity = (path.parent / "report.md").read_text(), spec_of(path).parity
    assert parity is not None and 1e-4 < parity.error < 0.5 and parity.cases == 24
    assert f"int8: largest relative error {parity.error:.1e}" in page and "fp32: largest relative error" in page


def test_a_smaller_file_that_is_wrong_is_refused_whatever_its_score(tmp_path: Path, console: Console) -> None:
    model = untrained()["tiny-lstm"]

    def lighten(graph: onnx.ModelProto, spec: ModelSpec) -> Lighter:
        score = Score(metric="accuracy", value=1.0, better="higher", data="none")
        return lighter(misordered(graph), spec, "int8", lambda _: score, 0.0)

    with pytest.raises(ConfigurationError, match=r"tiny-int8.*(differ by|proves nothing)"):
        export_model(model, model.describe("tiny"), tmp_path, quick=True, lighten=lighten, console=console)
    assert list(tmp_path.iterdir()) == []


def test_an_opset_may_be_chosen(tmp_path: Path) -> None:
    model, console = untrained()["tiny-gru"], Console(record=True, width=200)
    path = export_model(model, model.describe("new"), tmp_path, quick=True, opset=23, console=console)
    assert onnx.load(path).opset_import[0].version == 23
    assert "recurrent layers will run on the CPU" in console.export_text()
    with pytest.raises(ConfigurationError, match="opset 17 cannot be written"):
        export_model(model, model.describe("old"), tmp_path, quick=True, opset=17, console=console)
