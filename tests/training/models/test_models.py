"""Every model, for each row: whole == in chunks == one step at a time == batched with strangers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headrace.errors import ConfigurationError
from headrace.training.models import Config, RecurrentClassifier, SequenceModel, build

LABELS = ["a", "b", "c"]
STATEFUL: dict[str, Config] = {
    kind: {
        "architecture": "recurrent-classifier",
        "kind": kind,
        "features": 4,
        "hidden": 8,
        "layers": 2,
        "labels": LABELS,
    }
    for kind in ("gru", "lstm", "rnn")
} | {"characters": {"architecture": "character-model", "symbols": "abcde", "width": 6, "hidden": 8}}
ENCODER: Config = {
    "architecture": "encoder-classifier",
    "features": 4,
    "width": 8,
    "heads": 2,
    "layers": 2,
    "labels": LABELS,
}


def made(config: Config) -> SequenceModel:
    """Weights three times the usual ones: at those, a wrong state hardly shows."""
    torch.manual_seed(0)
    model = build(config)
    for weight in model.parameters():
        weight.data *= 3
    return model.eval()


def inputs(model: SequenceModel, tokens: int) -> Tensor:
    taken = model.describe("any").inputs[0]
    return torch.randint(0, taken.vocabulary, (tokens,)) if taken.vocabulary else torch.randn(tokens, *taken.shape)


def alone(model: SequenceModel, x: Tensor) -> Tensor:
    """The truth: one row, whole."""
    y, _ = model(x, torch.tensor([len(x)]), model.initial_state(1))
    assert isinstance(y, Tensor)
    return y


@pytest.mark.parametrize("config", STATEFUL.values(), ids=STATEFUL)
@pytest.mark.parametrize("sizes", [[1] * 9, [4, 1, 4], [8, 1]], ids=str)
def test_chunks_give_what_the_whole_gives(config: Config, sizes: list[int]) -> None:
    model = made(config)
    x, state, answers = inputs(model, 9), model.initial_state(1), []
    for chunk in torch.split(x, sizes):
        y, state = model(chunk, torch.tensor([len(chunk)]), state)
        answers.append(y)
    torch.testing.assert_close(torch.cat(answers), alone(model, x))


@pytest.mark.parametrize("config", STATEFUL.values(), ids=STATEFUL)
def test_a_lost_state_shows(config: Config) -> None:
    model = made(config)
    x = inputs(model, 9)
    y, _ = model(x[4:], torch.tensor([5]), model.initial_state(1))
    assert (y - alone(model, x)[4:]).abs().max() > 0.1


@pytest.mark.parametrize("config", [*STATEFUL.values(), ENCODER], ids=[*STATEFUL, "encoder"])
def test_strangers_in_the_batch_change_nothing(config: Config) -> None:
    model, sizes = made(config), [5, 2, 7]
    x = inputs(model, sum(sizes))
    y, _ = model(x, torch.tensor(sizes), model.initial_state(3))
    torch.testing.assert_close(y, torch.cat([alone(model, row) for row in torch.split(x, sizes)]))


def test_the_encoder_sees_the_order() -> None:
    model = made(ENCODER)
    x = inputs(model, 6)
    assert (alone(model, x) - alone(model, x.flip(0))).abs().max() > 1e-2


@pytest.mark.parametrize("config", [*STATEFUL.values(), ENCODER], ids=[*STATEFUL, "encoder"])
def test_the_description_fits_what_a_step_gives(config: Config) -> None:
    model = made(config)
    spec, start = model.describe("any"), model.initial_state(2)
    y, state = model(inputs(model, 5), torch.tensor([3, 2]), start)
    assert y.shape == (5 if spec.outputs[0].time else 2, *spec.outputs[0].shape)
    assert len(spec.outputs[0].labels) == y.shape[-1]
    assert {s.name: (2, *s.shape) for s in spec.states} == {name: tuple(s.shape) for name, s in state.items()}
    assert all(not s.any() for s in start.values())
    assert spec.chunk.whole is not spec.stateful


def test_raw_units_are_standardised_inside() -> None:
    plain, fitted = made(STATEFUL["gru"]), made(STATEFUL["gru"])
    assert isinstance(fitted, RecurrentClassifier)
    raw = inputs(plain, 6) * 100 + 7
    fitted.standardise.fit(raw)
    torch.testing.assert_close(alone(fitted, raw), alone(plain, (raw - raw.mean(0)) / raw.std(0)))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"architecture": "perceptron"}, "unknown architecture 'perceptron'; there are recurrent-classifier"),
        ({"architecture": "character-model", "depth": 3}, "character-model cannot be built"),
        (STATEFUL["gru"] | {"kind": "qrnn"}, "recurrent-classifier cannot be built.*qrnn"),
    ],
)
def test_configurations_that_are_no_model_are_refused(config: Config, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        build(config)
