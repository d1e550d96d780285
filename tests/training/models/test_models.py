"""Every model, for each row: whole == in chunks == one step at a time == batched with strangers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headrace.errors import ConfigurationError
from headrace.training.models import Config, RecurrentClassifier, SequenceModel, build
from headrace.training.ragged import State

LABELS = ["a", "b", "c"]
RECURRENT: Config = {
    "architecture": "recurrent-classifier",
    "features": 4,
    "hidden": 8,
    "layers": 2,
    "labels": LABELS,
    "dropout": 0.3,
}
STATEFUL: dict[str, Config] = {kind: RECURRENT | {"kind": kind} for kind in ("gru", "lstm", "rnn", "relu")} | {
    "projected": RECURRENT | {"kind": "lstm", "projection": 5},
    "learned": RECURRENT | {"kind": "lstm", "projection": 5, "learned": True},
    "characters": {"architecture": "character-model", "symbols": "abcde", "width": 6, "hidden": 8},
    "autoregressive": {"architecture": "autoregressive-forecaster", "order": 4},
    "latent": {"architecture": "latent-forecaster", "kind": "gru", "hidden": 8},
    "mixture": {"architecture": "mixture-forecaster", "hidden": 8, "components": 3},
}
ENCODER: Config = {
    "architecture": "encoder-classifier",
    "features": 4,
    "width": 8,
    "heads": 2,
    "layers": 2,
    "labels": LABELS,
}
WHOLE: dict[str, Config] = {
    "encoder": ENCODER,
    "weights": ENCODER | {"weights": True},
    "vision": {
        "architecture": "vision-transformer",
        "side": 8,
        "patch": 2,
        "levels": 17,
        "width": 8,
        "heads": 2,
        "layers": 2,
        "labels": LABELS,
    },
    "both-ways": RECURRENT | {"kind": "gru", "bidirectional": True},
    "both-ways-projected": RECURRENT | {"kind": "lstm", "bidirectional": True, "projection": 5},
}
MARKOV: Config = {"architecture": "autoregressive-forecaster", "order": 1}


def made(config: Config) -> SequenceModel:
    """Weights three times the usual ones: at those, a wrong state hardly shows."""
    torch.manual_seed(0)
    model = build(config)
    for weight in model.parameters():
        weight.data *= 3
    for start in model.begin.values() if isinstance(model, RecurrentClassifier) else ():
        start.data.normal_()
    return model.eval()


def inputs(model: SequenceModel, tokens: int) -> Tensor:
    taken = model.describe("any").inputs[0]
    return torch.randint(0, taken.vocabulary, (tokens,)) if taken.vocabulary else torch.randn(tokens, *taken.shape)


Results = tuple[Tensor, ...]


def run(model: SequenceModel, x: Tensor, lengths: list[int], state: State) -> tuple[Results, State]:
    """All outputs, also where there is one."""
    y, state = model(x, torch.tensor(lengths), state)
    return y if isinstance(y, tuple) else (y,), state


def joined(pieces: list[Results]) -> Results:
    """Each output of several steps or rows, one behind the other."""
    return tuple(map(torch.cat, zip(*pieces, strict=True)))


def alone(model: SequenceModel, x: Tensor) -> Results:
    """The truth: one row, whole."""
    return run(model, x, [len(x)], model.initial_state(1))[0]


@pytest.mark.parametrize("config", STATEFUL.values(), ids=STATEFUL)
@pytest.mark.parametrize("sizes", [[1] * 9, [4, 1, 4], [8, 1]], ids=str)
def test_chunks_give_what_the_whole_gives(config: Config, sizes: list[int]) -> None:
    model = made(config)
    x, state, answers = inputs(model, 9), model.initial_state(1), []
    for chunk in torch.split(x, sizes):
        y, state = run(model, chunk, [len(chunk)], state)
        answers.append(y)
    torch.testing.assert_close(joined(answers), alone(model, x))


@pytest.mark.parametrize("config", STATEFUL.values(), ids=STATEFUL)
def test_a_lost_state_shows(config: Config) -> None:
    model = made(config)
    x = inputs(model, 9)
    y, _ = run(model, x[4:], [5], model.initial_state(1))
    assert max((lost - kept[4:]).abs().max() for lost, kept in zip(y, alone(model, x), strict=True)) > 0.1


@pytest.mark.parametrize("config", [*STATEFUL.values(), *WHOLE.values(), MARKOV], ids=[*STATEFUL, *WHOLE, "markov"])
def test_strangers_in_the_batch_change_nothing(config: Config) -> None:
    model, sizes = made(config), [3, 2, 4]
    x = inputs(model, sum(sizes))
    y, _ = run(model, x, sizes, model.initial_state(3))
    torch.testing.assert_close(y, joined([alone(model, row) for row in torch.split(x, sizes)]))


def test_the_encoder_sees_the_order() -> None:
    model = made(ENCODER)
    x = inputs(model, 6)
    assert (alone(model, x)[0] - alone(model, x.flip(0))[0]).abs().max() > 1e-2


@pytest.mark.parametrize("config", [*STATEFUL.values(), *WHOLE.values(), MARKOV], ids=[*STATEFUL, *WHOLE, "markov"])
def test_the_description_fits_what_a_step_gives(config: Config) -> None:
    model = made(config)
    spec, start = model.describe("any"), model.initial_state(2)
    y, state = run(model, inputs(model, 5), [3, 2], start)
    for output, given in zip(spec.outputs, y, strict=True):
        assert given.shape == (5 if output.time else 2, *output.shape)
        assert not output.labels or (len(output.labels),) == output.shape
    assert {s.name: (2, *s.shape) for s in spec.states} == {name: tuple(s.shape) for name, s in state.items()}
    for described in spec.states:
        torch.testing.assert_close(start[described.name], torch.tensor(described.cells()).expand(2, *described.shape))
    assert spec.chunk.whole == (config in WHOLE.values())


@pytest.mark.parametrize("name", ["both-ways", "both-ways-projected"])
def test_both_ends_count_and_so_does_what_is_between(name: str) -> None:
    model = made(WHOLE[name])
    x = inputs(model, 6)
    for place in (0, 3, 5):
        changed = x.clone()
        changed[place] += 1
        assert (alone(model, changed)[0] - alone(model, x)[0]).abs().max() > 1e-3


def test_a_learned_start_is_learned_and_told() -> None:
    model = made(STATEFUL["learned"])
    assert isinstance(model, RecurrentClassifier)
    (y,) = alone(model, inputs(model, 3))
    y.sum().backward()
    assert all(start.grad is not None and start.grad.any() for start in model.begin.values())
    h, c = model.describe("any").states
    assert (h.shape, c.shape) == ((2, 5), (2, 8))
    torch.testing.assert_close(torch.tensor(h.cells()), model.begin["h"].detach())


def test_attention_weights_are_those_that_attention_uses() -> None:
    model, plain = made(WHOLE["weights"]), made(ENCODER)
    x, lengths = inputs(model, 9), [5, 4]
    (answer, weights), _ = run(model, x, lengths, {})
    torch.testing.assert_close(answer, run(plain, x, lengths, {})[0][0])
    torch.testing.assert_close(weights.sum(-1), torch.ones(9, 2, 2))
    assert not weights[:5, ..., 5:].any() and not weights[5:, ..., 4:].any()
    layer = model.layers[0]
    q, k, v = layer.project_in(torch.randn(9, 8)).chunk(3, -1)
    shown = layer.look(q, k, torch.tensor(lengths))  # [tokens, heads, places]
    attended = torch.einsum("thp,phs->ths", shown[:5, :, :5], v[:5].view(5, 2, 4)).flatten(1)
    torch.testing.assert_close(attended, layer.attend(q, k, v, torch.tensor(lengths))[:5])


def test_an_image_is_seen_in_patches_in_their_places() -> None:
    model = made(WHOLE["vision"])
    image = torch.randint(17, (8, 8)).float()
    (answer,) = alone(model, image.view(4, 2, 8))
    assert answer.shape == (1, 3)
    assert (alone(model, image.flip(0).view(4, 2, 8))[0] - answer).abs().max() > 1e-2
    assert (alone(model, image.T.reshape(4, 2, 8))[0] - answer).abs().max() > 1e-2


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
        (STATEFUL["gru"] | {"projection": 3}, "cannot be built.*proj_size argument is only supported for LSTM"),
        (STATEFUL["learned"] | {"bidirectional": True}, "cannot be built.*begins with zeros at both ends"),
    ],
)
def test_configurations_that_are_no_model_are_refused(config: Config, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        build(config)
