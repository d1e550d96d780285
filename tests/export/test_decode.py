"""The plain loop: sources begin sequences, tokens follow tokens, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from headrace.contract import read_model
from headrace.errors import ConfigurationError, InvalidInput
from headrace.export import export_model
from headrace.export.caches import plain
from headrace.export.decode import START, Loop, drawn, generate, likeliest
from headrace.export.draw import draw, draw_png
from headrace.export.pronounce import Pronouncer
from headrace.export.runners import runtime
from headrace.export.start import together
from headrace.training.data import captions
from headrace.training.data.cmudict import LETTERS
from headrace.training.models import Decoder, Translator
from headrace.training.pronounce import SYMBOLS, pronounced

from .decoders import Ids, decoder_loop, start_graph, strained, translator, translator_graph, translator_loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models of the tasks `g2p` and `captions`, as files."""
    models = tmp_path_factory.mktemp("models")
    drawer = strained(Decoder(captions.SYMBOLS, width=8, heads=2, layers=1, longest=captions.LONGEST))
    for name, model in {"g2p": speller(), "captions": drawer}.items():
        export_model(model, model.describe(name), models, version="1", quick=True, console=Console(quiet=True))
    return models


def speller() -> Translator:
    return strained(Translator(LETTERS, list(SYMBOLS), width=8, heads=2, encoder=1, decoder=1, longest=16))


def sources(*lengths: int) -> list[Ids]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 5, n) for n in lengths]


def test_start_graph_and_graph_together_are_the_model() -> None:
    assert together(translator(), translator_loop()) < 1e-5


def test_another_start_graph_shows() -> None:
    spec, start = translator_loop().spec, runtime(start_graph())
    backwards = Loop(
        spec,
        runtime(plain(translator_graph(), spec)),
        lambda feed: start(feed | {"source": feed["source"][::-1].copy()}),
    )
    with pytest.raises(ConfigurationError, match="together differ from PyTorch"):
        together(translator(), backwards)


def test_translations_side_by_side_are_those_alone() -> None:
    every, loop = sources(1, 9, 4, 17), translator_loop()
    begin = [np.zeros(1, np.int64)] * len(every)
    both = generate(loop.begin(every), begin, 8, likeliest)
    alone = [generate(loop.begin([source]), begin[:1], 8, likeliest)[0] for source in every]
    assert np.array_equal(both, np.stack(alone))
    assert np.ptp(loop.begin(every).step(begin), 0).max() > 0.1  # the sources matter


def test_prompts_of_different_lengths_go_on_together() -> None:
    rng, loop = np.random.default_rng(0), decoder_loop()
    prompts = [rng.integers(0, 6, n) for n in (3, 1, 8)]
    both = generate(loop.open(3), prompts, 6, likeliest)
    alone = [generate(loop.open(1), [prompt], 6, likeliest)[0] for prompt in prompts]
    assert np.array_equal(both, np.stack(alone))


def test_draws_follow_the_softmax_of_what_is_allowed() -> None:
    logits = np.log(np.array([[5.0, 1.0, 3.0, 100.0]], np.float32)).repeat(4000, 0)
    found = drawn(np.random.default_rng(0), np.array([0, 1, 2]))(logits)
    assert np.bincount(found, minlength=4) / 4000 == pytest.approx([5 / 9, 1 / 9, 3 / 9, 0], abs=0.03)
    cold = drawn(np.random.default_rng(0), np.array([0, 1, 2]), temperature=0.5)(logits)
    assert np.bincount(cold, minlength=3) / 4000 == pytest.approx([25 / 35, 1 / 35, 9 / 35], abs=0.03)


def test_a_sequence_that_grows_too_long_is_refused() -> None:
    decoding = decoder_loop().open(2)
    decoding.step([np.zeros(39, np.int64), np.zeros(1, np.int64)])
    decoding.step([np.zeros(1, np.int64)] * 2)
    with pytest.raises(InvalidInput, match="a sequence of decoder has at most 40 time steps"):
        decoding.step([np.zeros(1, np.int64)] * 2)


def test_a_source_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a source of translator has at most 24 time steps"):
        translator_loop().begin(sources(3, 25))


def test_a_model_without_a_start_graph_begins_with_no_source() -> None:
    with pytest.raises(ConfigurationError, match="decoder has no start graph"):
        decoder_loop().begin(sources(3))


def test_the_start_graph_is_a_model_of_its_own_beside_the_other(folder: Path) -> None:
    graph, spec = read_model(folder / "g2p" / "1" / START)
    assert not spec.stateful and spec.chunk.whole and spec.text is not None
    assert spec.parity is not None and spec.parity.error < 1e-4
    assert [o.name for o in spec.outputs] == [o.name for o in graph.graph.output] == ["cross0.keys", "cross0.values"]
    assert not (folder / "captions" / "1" / START).exists()


def test_words_are_pronounced_as_the_model_does(folder: Path) -> None:
    words, model = ["headrace", "a", "stream"], speller()
    g2p = Pronouncer(Loop.load(folder / "g2p" / "1" / "model.onnx"))
    assert g2p.all(words) == pronounced(model, words) == [g2p(word) for word in words]


@pytest.mark.parametrize("word", ["", "head race", "naïve"])
def test_what_is_no_word_is_not_pronounced(folder: Path, word: str) -> None:
    with pytest.raises(InvalidInput, match="a word is written with abc"):
        Pronouncer(Loop.load(folder / "g2p" / "1" / "model.onnx"))(word)


def test_a_model_that_reads_no_words_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="decoder does not read words"):
        Pronouncer(decoder_loop())


def test_a_picture_is_drawn_by_its_seed(folder: Path, tmp_path: Path) -> None:
    loop = Loop.load(folder / "captions" / "1" / "model.onnx")
    one, again, other = (draw(loop, "A seven ", seed=seed) for seed in (1, 1, 2))
    assert one.shape == (8, 8) and one.min() >= 0 and one.max() <= 16
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    draw_png(loop, "a seven", tmp_path / "seven.png")
    assert (tmp_path / "seven.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("caption", ["", "a seven!", "seven" * 10])
def test_what_is_no_caption_is_not_drawn(folder: Path, caption: str) -> None:
    with pytest.raises(InvalidInput, match="a caption has 1 to 31 letters"):
        draw(Loop.load(folder / "captions" / "1" / "model.onnx"), caption)


def test_a_model_without_caches_is_not_decoded(models: Path) -> None:
    with pytest.raises(ConfigurationError, match="without caches"):
        Loop.load(models / "tiny-lm" / "1" / "model.onnx")
