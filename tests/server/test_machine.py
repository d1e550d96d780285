"""What the system says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.server.machine import cores, cpu_name


def test_the_processor_is_named_even_where_the_system_does_not_tell(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU 7\nprocessor\t: 1\nmodel name\t: Some CPU 7\n")
    assert cpu_name(info) == "Some CPU 7"
    assert cpu_name(tmp_path / "missing")


@pytest.mark.parametrize(("quota", "at_most"), [("100000 100000", 1), ("250000 100000", 2), ("50000 100000", 1)])
def test_a_containers_quota_bounds_the_cores(tmp_path: Path, quota: str, at_most: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota + "\n")
    assert cores(file) == min(at_most, cores(tmp_path / "missing"))


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text("max 100000\n")
    assert cores(file) == cores(tmp_path / "missing") >= 1
