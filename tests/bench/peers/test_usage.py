"""All processes of a server."""

from __future__ import annotations

from pathlib import Path

from headrace.bench.peers.usage import cpu, family, memory


def process(proc: Path, id: int, parent: int) -> None:
    thread = proc / str(id) / "task" / str(id)
    thread.mkdir(parents=True)
    (thread / "schedstat").write_text(f"{id}000000000 9 9\n")
    (proc / str(id) / "stat").write_text(f"{id} (a (odd) name) S {parent} 1 1\n")
    (proc / str(id) / "smaps_rollup").write_text(f"00-ff ---p [rollup]\nRss: 999 kB\nPss: {id} kB\n")


def test_descendants_count_and_others_do_not(tmp_path: Path) -> None:
    for id, parent in ((2, 1), (3, 2), (5, 3), (7, 1)):
        process(tmp_path, id, parent)
    (tmp_path / "11").mkdir()  # one that has just ended
    assert family(2, tmp_path) == [2, 3, 5]
    assert cpu(2, tmp_path) == 2 + 3 + 5
    assert memory(2, tmp_path) == (2 + 3 + 5) << 10
