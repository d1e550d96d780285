"""Models with caches, for each row: whole == in chunks == one step at a time == batched with strangers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headrace.errors import ConfigurationError
from headrace.spec import FILLED, PAST, Generation
from headrace.training.models import Config, Decoder, Translator, build
from headrace.training.ragged import State

DECODER: Config = {"architecture": "decoder", "symbols": "abcde", "width": 16, "heads": 2, "layers": 2, "longest": 32}
TRANSLATOR: Config = {
    "architecture": "translator",
    "source": "abcde",
    "symbols": [".", "X", "Y", "Z", "W"],
    **{"width": 16, "heads": 2, "encoder": 1, "decoder": 2, "longest": 32},
}
WINDOW = 3
WINDOWED: Config = DECODER | {"longest": None, "window": WINDOW}
CONFIGS = {"decoder": DECODER, "translator": TRANSLATOR, "windowed": WINDOWED}
SOURCES = (4, 7, 1)


def made(config: Config) -> Decoder | Translator:
    """Weights three times the usual ones: at those, a wrong cache hardly shows."""
    torch.manual_seed(0)
    model = build(config)
    for weight in model.parameters():
        weight.data *= 3
    assert isinstance(model, Decoder | Translator)
    return model.eval()


def begun(model: Decoder | Translator, rows: list[int]) -> State:
    """The state of those of three sequences, each with a source of its own if the model reads one."""
    if isinstance(model, Decoder):
        return model.initial_state(len(rows))
    sources = torch.arange(sum(SOURCES)).mul(7).remainder(5).split(SOURCES)
    return model.start(torch.cat([sources[k] for k in rows]), torch.tensor([SOURCES[k] for k in rows]))


def alone(model: Decoder | Translator, x: Tensor, row: int = 0) -> Tensor:
    """The truth: one sequence, whole."""
    y, _ = model(x, torch.tensor([len(x)]), begun(model, [row]))
    assert isinstance(y, Tensor)
    return y


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def text(tokens: int) -> Tensor:
    return torch.randint(0, 5, (tokens,), generator=torch.Generator().manual_seed(tokens))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("sizes", [[1] * 9, [4, 1, 4], [8, 1]], ids=str)
def test_chunks_give_what_the_whole_gives(config: Config, sizes: list[int]) -> None:
    model = made(config)
    x, state, answers = text(9), begun(model, [0]), []
    for chunk in torch.split(x, sizes):
        y, state = model(chunk, torch.tensor([len(chunk)]), state)
        answers.append(y)
    close(torch.cat(answers), alone(model, x))
    assert state[PAST].tolist() == [9]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_strangers_with_other_pasts_change_nothing(config: Config) -> None:
    model, state, sizes = made(config), begun(made(config), [0, 1, 2]), ([5, 2, 7], [1, 4, 2])
    xs = [text(a + b) for a, b in zip(*sizes, strict=True)]
    got: list[list[Tensor]] = [[], [], []]
    for counts in sizes:
        done = [sum(map(len, parts)) for parts in got]
        steps = [x[d : d + n] for x, d, n in zip(xs, done, counts, strict=True)]
        y, state = model(torch.cat(steps), torch.tensor(counts), state)
        for parts, part in zip(got, torch.split(y, counts), strict=True):
            parts.append(part)
    for row, (x, parts) in enumerate(zip(xs, got, strict=True)):
        close(torch.cat(parts), alone(model, x, row))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_lost_cache_shows(config: Config) -> None:
    model, x = made(config), text(9)
    _, state = model(x[:4], torch.tensor([4]), begun(model, [0]))
    state |= {name: torch.zeros_like(cells) for name, cells in state.items() if name.endswith((".keys", ".values"))}
    y, _ = model(x[4:], torch.tensor([5]), state)
    assert (y - alone(model, x)[4:]).abs().max() > 0.1


def test_no_token_sees_what_comes_behind_it() -> None:
    model, x = made(DECODER), text(9)
    changed = torch.cat([x[:5], (x[5:] + 1) % 5])
    close(alone(model, changed)[:5], alone(model, x)[:5])


def test_a_window_hides_what_is_older() -> None:
    """Through two layers a token reaches back twice the window, less the token itself; just so far, and no further."""
    model, x, reach = made(WINDOWED), text(12), 2 * (WINDOW - 1)
    for place, seen in ((11 - reach - 1, False), (11 - reach, True)):
        changed = x.clone()
        changed[place] = (x[place] + 1) % 5
        assert bool((alone(model, changed)[-1] - alone(model, x)[-1]).abs().max() > 1e-3) is seen


def test_a_window_as_long_as_the_text_hides_nothing() -> None:
    wide = made(DECODER | {"window": 9})
    close(alone(wide, text(9)), alone(made(DECODER), text(9)))


def test_a_text_without_end_needs_a_window() -> None:
    with pytest.raises(ConfigurationError, match="needs a window"):
        build(DECODER | {"longest": None})


def test_the_source_matters_and_its_padding_does_not() -> None:
    model, x = made(TRANSLATOR), text(6)
    assert (alone(model, x, 0) - alone(model, x, 1)).abs().max() > 0.1
    state = begun(model, [0, 1])
    cells = state["cross0.keys"]  # [rows, cells, heads, width], the first row shorter
    assert state[FILLED].tolist() == [4, 7] and cells.shape == (2, 7, 2, 8)
    cells[0, 4:] = 1e4
    y, _ = model(torch.cat([x, x]), torch.tensor([6, 6]), state)
    close(y[:6], alone(model, x, 0))


def test_a_translation_begins_with_a_source() -> None:
    with pytest.raises(ValueError, match="begins with its source"):
        made(TRANSLATOR).initial_state(1)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_description_names_every_cache(config: Config) -> None:
    model = made(config)
    spec, state = model.describe("any"), begun(model, [0, 1])
    assert spec.stateful and spec.longest == config["longest"] and not spec.states
    assert {c.window for c in spec.caches if not c.filled} == {config.get("window")}
    assert {n for c in spec.caches for n in (c.keys, c.values)} == state.keys() - {PAST, FILLED}
    assert {(c.heads, c.width) for c in spec.caches} == {(2, 8)}
    assert spec.counts == ((PAST,) if spec.start is None else (PAST, FILLED))
    if spec.start is not None:
        assert [o.name for o in spec.started().outputs] == [f"cross{k}.{n}" for k in (0, 1) for n in ("keys", "values")]


@pytest.mark.parametrize(("config", "token", "separator"), [(DECODER, None, ""), (TRANSLATOR, 0, " ")])
def test_the_description_says_how_a_text_goes_on(config: Config, token: int | None, separator: str) -> None:
    spec = made(config).describe("any")
    assert spec.generation == Generation(output="logits", begin=token, end=token)
    assert spec.text is not None and spec.text.separator == separator
    assert len(spec.text.symbols) == spec.inputs[0].vocabulary
