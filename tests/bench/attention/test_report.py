"""What a comparison says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.bench.attention.entrants import NEAR_US, OURS
from headrace.bench.attention.found import Checked, Found, Point, middles
from headrace.bench.attention.report import figures, picture, text
from headrace.bench.attention.truth import Judged
from headrace.bench.attention.workload import LOADS
from headrace.bench.machine import Machine

MACHINE = Machine("2026-01-02 03:04", "Acme 9", 2, "3.11", "1.31", "1.85", "2.4")
WELL = Checked(1e-5, Judged(4096, 0, 1))


def found(ours: float = 2000.0, first: float = 0.1) -> Found:
    """Ours beside two others, of which one writes faster and one begins sooner."""
    points = [Point(OURS, n, ours, first, 1e-4) for n in LOADS]
    points += [Point("fast", n, 1000.0, 0.4, 1e-3) for n in LOADS] + [Point("soon", n, 500.0, 0.2, 2e-3) for n in LOADS]
    names = (OURS, "fast", "soon")
    return Found(MACHINE, 3, dict.fromkeys(names, "1.0"), {"gone": "no wheel"}, dict.fromkeys(names, WELL), points)


def test_we_are_compared_with_the_best_other_of_each_kind() -> None:
    said = {f.name: f for f in figures(found())}
    assert said["tokens/s, 8 sequences"].value == 2.0 and said["first token, 32 sequences"].value == 0.5
    assert said["CPU a token, 1 sequences"].value == 0.1
    assert "fast 1,000" in said["tokens/s, 8 sequences"].note and "soon 200" in said["first token, 8 sequences"].note
    assert all(f.reached for f in said.values())
    assert {f.name for f in said.values() if f.bound == 1.0} == {
        f"{what}, {n} sequences" for what in ("tokens/s", "first token") for n in (8, 32)
    }
    assert said["without gone"].note == "no wheel"


@pytest.mark.parametrize(("ours", "first", "short"), [(999.0, 0.1, "tokens/s"), (2000.0, 0.21, "first token")])
def test_whoever_is_faster_is_seen(ours: float, first: float, short: str) -> None:
    assert {f.name for f in figures(found(ours, first)) if not f.reached} == {
        f"{short}, {n} sequences" for n in (8, 32)
    }


def test_whoever_had_not_its_core_casts_doubt() -> None:
    busy = found()
    busy = replace(busy, points=[replace(p, cpu=p.cpu / 2) if p.entrant == "fast" else p for p in busy.points])
    notes = {f.name: f.note for f in figures(busy)}
    assert notes["tokens/s, 8 sequences"].endswith("not to be believed: fast had 50% of its core")
    assert not any("believed" in f.note for f in figures(found()))


def test_our_client_on_the_same_core_is_no_other() -> None:
    beside = found()
    beside = replace(beside, points=[*beside.points, *(Point(NEAR_US, n, 9000.0, 0.01, 1e-9) for n in LOADS)])
    rate = next(f for f in figures(beside) if f.name == "tokens/s, 8 sequences")
    assert rate.value == 2.0 and rate.note.endswith(f"{NEAR_US} 9,000")


@pytest.mark.parametrize("worse", [replace(WELL, apart=2e-4), replace(WELL, judged=Judged(4096, 1, 1))])
def test_whoever_writes_something_else_is_seen(worse: Checked) -> None:
    other = found()
    other.checked["fast"] = worse
    assert len([f for f in figures(other) if not f.reached]) == 1


def test_without_us_there_is_nothing_to_compare() -> None:
    alone = replace(found(), points=[p for p in found().points if p.entrant != OURS])
    assert [f.name for f in figures(alone) if "sequences" in f.name] == []


def test_the_middle_of_the_rounds_counts() -> None:
    rounds = [Point("a", 8, rate, first, 1e-4) for rate, first in ((1.0, 9.0), (5.0, 3.0), (3.0, 2.0))]
    other = Point("a", 1, 7.0, 7.0, 1e-4)
    assert middles([*rounds, other]) == [other, Point("a", 8, 3.0, 3.0, 1e-4)]


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found().write(tmp_path / "points.json")
    assert Found.read(tmp_path / "points.json") == found()


def test_the_page_tells_all(tmp_path: Path) -> None:
    told = text(found())
    assert "| fast | 8 | 1,000 | 400 | 1,000 |" in told and "- gone: skipped, no wheel" in told
    assert f"| {OURS} | 1e-05 | 0 | 1 |" in told and "3 rounds" in told
    picture(found(), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
