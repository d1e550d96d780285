"""Environments of peers, without installing anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headrace.bench.peers.environment import MADE, Environment
from headrace.bench.peers.peer import Missing


def test_what_was_made_of_the_same_is_kept(tmp_path: Path) -> None:
    (tmp_path / MADE).write_text(f"{sys.version}\nserver==1.2\nnumpy==3.4")
    assert Environment(tmp_path, ("server==1.2", "numpy==3.4")).make() == "server 1.2, numpy 3.4"


def test_what_cannot_be_made_is_missing_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Missing, match=r"cannot be installed: .*file"):
        Environment(tmp_path / "file" / "environment", ("server==1.2",)).make()
