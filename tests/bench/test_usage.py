"""What a server used: the kernel's counts and the metrics' text."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from headrace.bench.process import cpu_by_thread, cpu_seconds, resident
from headrace.bench.usage import Usage, parsed


def test_threads_are_counted_each_and_together(tmp_path: Path) -> None:
    for thread, spent in ((7, 1_500_000_000), (8, 250_000_000)):
        folder = tmp_path / "7" / "task" / str(thread)
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(f"{spent} 99 5\n")
    (tmp_path / "7" / "task" / "9").mkdir()  # one that has just ended
    assert cpu_by_thread(7, tmp_path) == {7: 1.5, 8: 0.25}
    assert cpu_seconds(7, tmp_path) == 1.75


def test_resident_memory_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tx\nVmPeak:\t 900 kB\nVmRSS:\t     200 kB\n")
    assert resident(7, tmp_path) == 200 * 1024


def test_metrics_are_summed_over_their_labels() -> None:
    registry = CollectorRegistry()
    steps = Counter("steps", "of models", ["model"], registry=registry)
    steps.labels("a").inc(3)
    steps.labels("b {odd} name").inc(4)
    Counter("plain", "without labels", registry=registry).inc(2.5)
    Histogram("seconds", "with buckets", registry=registry).observe(0.5)
    found = parsed(generate_latest(registry).decode())
    assert (found["steps_total"], found["plain_total"]) == (7, 2.5)
    assert (found["seconds_sum"], found["seconds_count"]) == (0.5, 1)
    assert not any(name.endswith("_bucket") for name in found)


def test_what_is_not_the_runtimes_is_outside() -> None:
    spent = Usage(5.0, 3.0) - Usage(1.0, 1.5)
    assert (spent.cpu, spent.compute, spent.outside) == (4.0, 1.5, 2.5)
