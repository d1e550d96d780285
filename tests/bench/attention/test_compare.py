"""The comparison, of a plain loop, of one that cannot be had, and of one that fails."""

from __future__ import annotations

import shutil
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from headrace.bench.attention.compare import compare
from headrace.bench.attention.entrants import Made, Own, entrants
from headrace.bench.attention.process import Worker, working
from headrace.bench.peers.peer import Missing
from headrace.bench.site import Site


class Absent:
    name = "absent"

    def make(self) -> str:
        raise Missing("no wheel")

    def start(self, made: Made, log: Path) -> AbstractContextManager[Worker]:
        raise AssertionError("it was never had")


class Broken:
    name = "broken"

    def make(self) -> str:
        return "broken 1.0"

    def start(self, made: Made, log: Path) -> AbstractContextManager[Worker]:
        return working([sys.executable, "-c", "raise SystemExit('out of order')"], log)


@pytest.fixture
def site(exported: Path, tmp_path: Path) -> Site:
    shutil.copytree(exported.parents[2], tmp_path / "attention" / "models")
    return Site(tmp_path, tmp_path, rounds=1, seconds=0.0)


def test_what_works_is_measured_and_what_does_not_is_told(site: Site) -> None:
    found = compare(site, [Absent(), Broken(), Own("loop", "loop", "numpy")], loads=(1, 2), new=3)
    assert found.missing == {"absent": "no wheel", "broken": "Failed: out of order"}
    assert [(p.entrant, p.sequences) for p in found.points] == [("loop", n) for n in (1, 2)]
    assert all(p.rate > 0 and 0 < p.first * p.rate < 3 * p.sequences and p.cpu > 0 for p in found.points)
    checked = found.checked["loop"]
    assert checked.apart < 1e-4 and (checked.judged.decisions, checked.judged.wrong) == (6, 0)


def test_all_have_names_of_their_own(site: Site) -> None:
    names = [entrant.name for entrant in entrants(site, Path("nowhere"))]
    assert len(set(names)) == len(names) == 9
