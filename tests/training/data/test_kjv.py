"""The text is the one that the published figures are for, and its parts follow each other without a gap."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.training.data import kjv


@pytest.fixture(scope="module")
def text() -> str:
    return kjv.load()


def test_counts(text: str) -> None:
    assert text.count("\n") == 31_102
    assert len(text) == 4_137_850
    assert len(set(text)) == 63
    assert text.startswith("In the beginning God created the heaven and the earth.\nAnd the earth was")
    assert text.endswith("The grace of our Lord Jesus Christ be with you all. Amen.\n")


def test_parts_join_to_the_text_and_the_last_tenth_is_scored(text: str) -> None:
    corpus = kjv.corpus(text)
    ids = np.concatenate([corpus.train, corpus.selection, corpus.scored])
    symbols = np.array(list(corpus.symbols))
    assert "".join(symbols[ids]) == text
    assert len(corpus.scored) == round(len(text) / 10)
    assert 0 < len(corpus.selection) < len(corpus.scored)
