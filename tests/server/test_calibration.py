"""What was measured is found again for the same model on the same machine alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.server.calibration import MOST_ROWS, Calibration, Key, bounds, find, keep
from headrace.server.cost import Cost
from headrace.server.limits import Limits
from headrace.server.settings import Settings
from headrace.spec import Chunk

from .fakes import SUM

KEY = Key(model="00ff", cpu="Some CPU 7", runtime="1.2.3", device="CPU")
FOUND = Calibration(rows=96, tokens=5000, lanes=3, curve=((1, 1e-4), (96, 2e-3)), cost=Cost(7.0, 0.5))


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    assert find(tmp_path, KEY) is None
    keep(tmp_path, KEY, FOUND)
    keep(tmp_path, KEY, FOUND)
    assert find(tmp_path, KEY) == FOUND
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 1


@pytest.mark.parametrize("change", [{"model": "00fe"}, {"cpu": "x"}, {"runtime": "1.2.4"}, {"device": "CUDA"}])
def test_another_model_or_machine_or_runtime_finds_nothing(tmp_path: Path, change: dict[str, str]) -> None:
    keep(tmp_path, KEY, FOUND)
    assert find(tmp_path, replace(KEY, **change)) is None


def test_an_entry_in_the_place_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    keep(tmp_path, KEY, FOUND)
    other = replace(KEY, cpu="x")
    KEY.place(tmp_path).rename(other.place(tmp_path))
    assert find(tmp_path, other) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"key": {}}', b'{"rows": 0}'])
def test_a_corrupt_entry_is_ignored_and_the_log_says_so(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    keep(tmp_path, KEY, FOUND)
    KEY.place(tmp_path).write_bytes(content)
    assert find(tmp_path, KEY) is None
    assert str(KEY.place(tmp_path)) in caplog.text


def test_a_key_follows_the_file_and_what_stands_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    first = Key.of(file, "CPU")
    assert Key.of(file, "CPU") == first != Key.of(file, "CUDA")
    (tmp_path / "model.toml").write_text("chunk.longest = 8")
    beside = Key.of(file, "CPU")
    file.write_bytes(b"weights!")
    assert len({first.model, beside.model, Key.of(file, "CPU").model}) == 3


def test_numbers_in_the_settings_override_what_was_measured() -> None:
    limits = bounds(Settings(), SUM, "CPU", FOUND)
    assert (limits.rows, limits.tokens, limits.cost) == (96, 5000, Cost(7.0, 0.5))
    assert limits.most_rows == MOST_ROWS["CPU"]  # more rows may be allowed later
    limits = bounds(Settings(batch_rows=700, batch_tokens=9), SUM, "CPU", FOUND)
    assert (limits.rows, limits.tokens, limits.most_rows) == (700, 9, 700)


def test_a_model_bounds_its_rows_whoever_says_otherwise() -> None:
    alone = SUM.model_copy(update={"chunk": Chunk(longest=16, rows=2)})
    for settings in (Settings(), Settings(batch_rows=64)):
        limits = bounds(settings, alone, "CPU", FOUND)
        assert (limits.rows, limits.most_rows) == (2, 2)


def test_an_arena_has_slots_for_the_most_rows_that_may_be_allowed() -> None:
    fixed, later = Limits(rows=64, sequences=8), Limits(rows=8, sequences=8, most_rows=64)
    assert fixed.slots == later.slots > 8 + 64 - 1
