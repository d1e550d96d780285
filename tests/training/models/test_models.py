"""Every model, for each row: whole == in chunks == one step at a time == batched with strangers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headrace.errors import ConfigurationError
from headrace.training.models import Config, RecurrentClassifier, SequenceModel, build
from headrace.training.ragged import State

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
} | {
    "characters": {"architecture": "character-model", "symbols": "abcde", "width": 6, "hidden": 8},
    "autoregressive": {"architecture": "autoregressive-forecaster", "order": 4},
    "latent": {"architecture": "latent-forecaster", "kind": "gru", "hidden": 8},
    "mixture": {"architecture": "mixture-forecaster", "hidden": 8, "components": 3},
}
MARKOV: Config = {"architecture": "autoregressive-forecaster", "order": 1}
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


def run(model: SequenceModel, x: Tensor, lengths: list[int], state: State) -> tuple[Tensor, State]:
    """Several outputs side by side, so that all are compared."""
    y, state = model(x, torch.tensor(lengths), state)
    return torch.cat(y, -1) if isinstance(y, tuple) else y, state


def alone(model: SequenceModel, x: Tensor) -> Tensor:
    """The truth: one row, whole."""
    y, _ = run(model, x, [len(x)], model.initial_state(1))
    return y


@pytest.mark.parametrize("config", STATEFUL.values(), ids=STATEFUL)
@pytest.mark.parametrize("sizes", [[1] * 9, [4, 1, 4], [8, 1]], ids=str)
def test_chunks_give_what_the_whole_gives(config: Config, sizes: list[int]) -> None:
    model = made(config)
    x, state, answers = inputs(model, 9), model.initial_state(1), []
    for chunk in torch.split(x, sizes):
        y, state = run(model, chunk, [len(chunk)], state)
        answers.append(y)
    torch.testing.assert_close(torch.cat(answers), alone(model, x))


@pytest.mark.parametrize("config", STATEFUL.values(), ids=STATEFUL)
def test_a_lost_state_shows(config: Config) -> None:
    model = made(config)
    x = inputs(model, 9)
    y, _ = run(model, x[4:], [5], model.initial_state(1))
    assert (y - alone(model, x)[4:]).abs().max() > 0.1


@pytest.mark.parametrize("config", [*STATEFUL.values(), ENCODER, MARKOV], ids=[*STATEFUL, "encoder", "markov"])
def test_strangers_in_the_batch_change_nothing(config: Config) -> None:
    model, sizes = made(config), [5, 2, 7]
    x = inputs(model, sum(sizes))
    y, _ = run(model, x, sizes, model.initial_state(3))
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
    for output, given in zip(spec.outputs, y if isinstance(y, tuple) else [y], strict=True):
        assert given.shape == (5 if output.time else 2, *output.shape)
        assert not output.labels or (len(output.labels),) == output.shape
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
