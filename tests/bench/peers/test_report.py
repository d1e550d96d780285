"""Figures and pages of a comparison that is made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.bench.figures import short
from headrace.bench.machine import Machine
from headrace.bench.peers.found import Found, Tried
from headrace.bench.peers.point import Point, middles
from headrace.bench.peers.report import figures, picture, text

MACHINE = Machine("2026-01-02 03:04", "a CPU", 2, "3", "1", "1", "2")
NAMES = ("echo", "Triton", "Headrace", "Headrace, own client")


def point(peer: str, sequences: int, rate: float, p50: float = 1e-3, cpu: float = 1e-4) -> Point:
    return Point(peer, "plain", sequences, rate, p50, 2 * p50, cpu, 64 << 20)


def found(rate: float, *, p50: float = 1e-3, cpu: float = 5e-5, own: float = 40_000, answer: float = -1.5) -> Found:
    """Triton does 4,000 steps a second in 2 ms, for 100 µs each; the echo 10,000. What is given is ours."""
    points = [
        *(point("Triton", n, 4_000, 2e-3) for n in (1, 32, 200)),
        *(point("echo", n, 10_000, 5e-4) for n in (1, 32)),
        *(point("Headrace", n, rate, p50, cpu) for n in (1, 32)),
        *(point("Headrace, own client", n, own, p50) for n in (1, 200)),
    ]
    tried = [
        Tried("echo", "plain", [1, 2, 3, 4], "", [0.0, 0.0]),
        Tried("Headrace", "plain", [1, 2, 3, 4], "", [-1.5, -2.0]),
        Tried("Triton", "plain", [1, 2, 3, 4], "", [answer, -2.0]),
        Tried("Triton", "bold", [1], "it crashed", []),
    ]
    return Found(MACHINE, dict.fromkeys(NAMES, "1.0"), {"MLServer": "no wheel"}, tried, points)


def test_all_that_must_be_shown_is_shown() -> None:
    shown = figures(found(6_000))
    assert short(shown) == []
    assert len([f for f in shown if f.bound is not None]) == 5
    assert shown[-1].note == "no wheel"


@pytest.mark.parametrize(
    ("made_up", "name"),
    [
        (found(5_900), "stock client at 32, steps/s"),
        (found(6_000, p50=2.1e-3), "one stock client, p50"),
        (found(6_000, cpu=6.8e-5), "stock client at 32, server CPU a step"),
        (found(6_000, own=31_900), "own client at 200, steps/s"),
        (found(6_000, answer=-1.4), "peers' answers are ours"),
    ],
)
def test_what_falls_short_is_told(made_up: Found, name: str) -> None:
    assert [line.partition(":")[0] for line in short(figures(made_up))] == [name]


def test_nearly_the_echo_will_do_where_triton_is_too_near() -> None:
    fast = found(9_100)
    points = [replace(p, rate=9_000) if p.peer == "Triton" and p.sequences == 32 else p for p in fast.points]
    assert short(figures(replace(fast, points=points))) == []


def test_without_triton_there_is_nothing_to_compare_with() -> None:
    alone = found(6_000)
    tried = [t for t in alone.tried if t.peer != "Triton"]
    points = [p for p in alone.points if p.peer != "Triton"]
    shown = figures(replace(alone, tried=tried, points=points))
    assert [f.name for f in shown] == ["peers' answers are ours", "without MLServer"]


def test_the_page_tells_everything(tmp_path: Path) -> None:
    page = text(found(6_000))
    assert "a CPU" in page and "- Triton: 1.0" in page and "- MLServer: skipped, no wheel" in page
    assert "| Headrace | 32 | 6,000 | 1 | 2 | 50 | 64 | plain |" in page
    assert "| Triton | bold | 1 |  |  |  | it crashed |" in page
    assert "| echo | plain |" not in page  # it has no choice
    picture(found(6_000), tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_rounds_are_medians_each_figure_for_itself() -> None:
    rounds = [point("a", 8, rate, p50) for rate, p50 in ((1, 3e-3), (3, 1e-3), (2, 2e-3))]
    made = middles([*rounds, point("b", 8, 7), point("a", 1, 5)])
    assert [(p.peer, p.sequences, p.rate, p.p50) for p in made] == [
        ("a", 1, 5, 1e-3),
        ("a", 8, 2, 2e-3),
        ("b", 8, 7, 1e-3),
    ]
