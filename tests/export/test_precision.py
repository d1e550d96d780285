"""Smaller graphs: the same signature, nearly the same answers, and refused where the score falls too far."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from headrace.contract import check
from headrace.errors import ConfigurationError
from headrace.export.graph_model import GraphModel
from headrace.export.lighter import Lighter, lighter
from headrace.export.precision import Precision, reduced
from headrace.export.runners import runtime
from headrace.export.trace import to_onnx
from headrace.spec import LENGTHS, Score
from headrace.training.models import RecurrentClassifier, SequenceModel

from .conftest import Traced

LABELS = ["low", "middle", "high"]


@pytest.fixture(scope="module")
def wide() -> Mapping[str, Traced]:
    """Models with weights large enough to be worth it."""
    made = {}
    for kind in ("gru", "lstm", "rnn"):
        torch.manual_seed(0)
        model = RecurrentClassifier(kind, 8, 32, 2, LABELS).eval()
        spec = model.describe(f"wide-{kind}")
        made[kind] = Traced(model, spec, to_onnx(model, spec))
    return made


@pytest.mark.parametrize(("precision", "share", "error"), [("fp16", 0.6, 5e-3), ("int8", 0.45, 0.2)])
@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn"])
def test_a_smaller_graph_answers_nearly_alike(
    wide: Mapping[str, Traced], kind: str, precision: Precision, share: float, error: float
) -> None:
    model = wide[kind]
    small = reduced(model.graph, precision)
    check(small, model.spec)
    onnx.checker.check_model(small, full_check=True)
    assert weights(small) < share * weights(model.graph)
    rng, lengths = np.random.default_rng(0), np.array([3, 1, 5])
    feed = {"values": model.spec.inputs[0].sample(9, rng), LENGTHS: lengths}
    feed |= {s.input: np.zeros((3, *s.shape), np.float32) for s in model.spec.states}
    got, want = runtime(small)(feed), runtime(model.graph)(feed)
    worst = max(float(np.abs(got[name] - want[name]).max()) for name in want)
    assert 0 < worst < error


def weights(graph: object) -> int:
    """Bytes of all initializers."""
    return sum(len(t.raw_data) or 4 * len(t.float_data) for t in graph.graph.initializer)  # type: ignore[attr-defined]


def test_a_graph_is_left_as_it_was(wide: Mapping[str, Traced]) -> None:
    before = wide["gru"].graph.SerializeToString()
    for precision in ("fp32", "fp16", "int8"):
        reduced(wide["gru"].graph, precision)  # type: ignore[arg-type]
    assert wide["gru"].graph.SerializeToString() == before
    assert reduced(wide["gru"].graph, "fp32").SerializeToString() == before


def test_an_lstm_runs_on_integers(wide: Mapping[str, Traced]) -> None:
    small = reduced(wide["lstm"].graph, "int8")
    assert "DynamicQuantizeLSTM" in {node.op_type for node in small.graph.node}
    assert TensorProto.INT8 in {t.data_type for t in reduced(wide["gru"].graph, "int8").graph.initializer}


def test_a_graph_can_be_scored_like_its_model(wide: Mapping[str, Traced]) -> None:
    model = wide["lstm"]
    graph, lengths = GraphModel(model.graph, model.spec), torch.tensor([2, 4])
    x = torch.randn(6, 8)
    with torch.no_grad():
        y, state = graph(x, lengths, graph.initial_state(2))
        right, end = model.model(x, lengths, model.model.initial_state(2))
    assert torch.allclose(y, right, atol=1e-5)
    assert all(torch.allclose(state[name], end[name], atol=1e-5) for name in end)


def judged(values: list[float], better: str) -> Score:
    return Score.model_validate({"metric": "m", "value": values.pop(0), "better": better, "data": "d"})


@pytest.mark.parametrize(("better", "small", "large"), [("higher", 0.90, 0.93), ("lower", 2.05, 2.02)])
def test_too_great_a_drop_is_refused(wide: Mapping[str, Traced], better: str, small: float, large: float) -> None:
    model = wide["rnn"]

    def measured(most: float) -> Lighter:
        values = [small, large]
        return lighter(model.graph, model.spec, "fp16", lambda _: judged(values, better), most)

    with pytest.raises(ConfigurationError, match=r"falls from .* nothing is published"):
        measured(0.02)
    found = measured(0.04)
    assert found.drop == pytest.approx(0.03) and found.bytes < found.before and found.speed > 0


def test_a_score_that_is_no_number_is_refused(wide: Mapping[str, Traced]) -> None:
    model, values = wide["rnn"], [float("nan"), 0.9]
    with pytest.raises(ConfigurationError, match=r"falls from 0\.9000 to nan"):
        lighter(model.graph, model.spec, "fp16", lambda _: judged(values, "higher"), 0.02)


def test_the_judge_sees_both_graphs(wide: Mapping[str, Traced]) -> None:
    seen: list[SequenceModel] = []

    def judge(model: SequenceModel) -> Score:
        seen.append(model)
        return Score(metric="m", value=1.0, better="higher", data="d")

    lighter(wide["rnn"].graph, wide["rnn"].spec, "int8", judge, 0.0)
    x, lengths = torch.randn(4, 8), torch.tensor([4])
    answers = [model(x, lengths, model.initial_state(1))[0] for model in seen]
    assert len(answers) == 2 and not torch.equal(*answers)
