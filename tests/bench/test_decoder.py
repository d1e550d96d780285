"""The reference decoder: one file, the same weights every time, and texts that tell one answer from another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headrace.bench.decoder import LAYERS, LONGEST, NAME, SYMBOLS, decoder, reference_decoder
from headrace.contract import read_model
from headrace.export.decode import Loop, generate, likeliest


def test_it_is_exported_once(exported: Path) -> None:
    written = exported.stat().st_mtime_ns
    assert reference_decoder(exported.parents[2]).stat().st_mtime_ns == written
    _, spec = read_model(exported)
    assert (spec.name, spec.longest, len(spec.caches)) == (NAME, LONGEST, LAYERS)


def test_it_writes_various_texts(exported: Path) -> None:
    prompts = [np.arange(5), np.arange(30)]
    texts = generate(Loop.load(exported).open(2), prompts, 40, likeliest)
    assert texts.max() < len(SYMBOLS)
    assert min(len(set(text)) for text in texts.tolist()) > 5


def test_the_weights_are_the_same_every_time() -> None:
    one, other = decoder().state_dict(), decoder().state_dict()
    assert all(one[name].equal(other[name]) for name in one)
