"""The comparison, of peers that only echo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headrace.bench.peers.compare import SEQUENCES, best, compare, entrants
from headrace.bench.peers.found import Found, Tried
from headrace.bench.peers.report import BARE
from headrace.bench.reference import NAME
from headrace.bench.site import Site

from .entrant import BAD, GOOD, Entrant


@pytest.fixture
def site(models: Path, tmp_path: Path) -> Site:
    """With a smaller model in the place of the reference."""
    place = tmp_path / "models" / NAME / "1"
    place.mkdir(parents=True)
    shutil.copy(models / "tiny-lstm" / "1" / "model.onnx", place)
    return Site(tmp_path, tmp_path, rounds=1, seconds=0.2)  # time for an answer, however busy the machine is


def test_what_works_is_measured_and_what_does_not_is_told(site: Site) -> None:
    found = compare(site, [Entrant("a", BAD, GOOD), Entrant("b", GOOD, missing="no wheel")])
    assert (found.versions, found.missing) == ({"a": "a 1.0"}, {"b": "no wheel"})
    assert [(t.setting, len(t.rates), t.failed) for t in found.tried] == [
        ("bad", 0, "RuntimeError: out of order"),
        ("good", len(SEQUENCES), ""),
    ]
    assert [(p.peer, p.sequences) for p in found.points] == [(peer, n) for peer in ("a", BARE) for n in SEQUENCES]
    assert all(p.rate > 0 and 0 < p.p50 <= p.p99 for p in found.points)
    echoed = [p for p in found.points if p.peer == "a"]
    assert all(p.cpu > 0 and p.memory > 1 << 20 and p.setting == "good" for p in echoed)


def test_what_was_found_is_read_back(site: Site, tmp_path: Path) -> None:
    found = compare(site, [])
    found.write(tmp_path / "points.json")
    assert Found.read(tmp_path / "points.json") == found


def test_each_load_has_the_setting_that_is_best_for_it() -> None:
    tried = [Tried("a", "x", [1, 5, 9], "", []), Tried("a", "y", [2, 4, 9.5], "", []), Tried("a", "z", [9], "died", [])]
    assert best(tried) == ["y", "x", "y"]


def test_a_peer_that_fails_with_every_setting_is_a_failure() -> None:
    with pytest.raises(RuntimeError, match="a, z: died"):
        best([Tried("a", "z", [9], "died", [])])


def test_peers_and_their_settings_have_names_of_their_own(tmp_path: Path) -> None:
    peers = entrants(tmp_path)
    assert len({peer.name for peer in peers}) == len(peers) == 6
    assert all(len({s.name for s in peer.settings}) == len(peer.settings) > 0 for peer in peers)
