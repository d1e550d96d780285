"""The picture is written, and shows what it was given."""

from __future__ import annotations

from pathlib import Path

from headrace.training.curve import draw
from headrace.training.loop import Epoch


def test_a_picture_with_a_curve_for_every_seed(tmp_path: Path) -> None:
    falling = [Epoch(1 / n, 1.1 / n) for n in range(1, 9)]
    draw(tmp_path / "one.png", "falls", {0: falling})
    draw(tmp_path / "two.png", "falls", {0: falling, 1: falling[::-1]})
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one.startswith(b"\x89PNG") and one != two
