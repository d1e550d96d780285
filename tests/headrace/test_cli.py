"""What the command line says about mistakes of its user."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.cli import main


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_file_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = tmp_path / "values.csv"
    assert said(capsys, "stream", "sum", str(missing)) == (
        f"headrace: {missing} cannot be read: No such file or directory\n"
    )
    assert said(capsys, "stream", "sum", str(tmp_path)) == f"headrace: {tmp_path} cannot be read: Is a directory\n"


def test_settings_that_are_wrong_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, "serve", "--port", "-1", "--lanes", "0")
    assert line.startswith("headrace: settings: port: ") and "; lanes: " in line and line.count("\n") == 1


def test_a_file_of_prompts_without_lines_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (empty := tmp_path / "empty.txt").touch()
    assert said(capsys, "generate", "m", "--prompts", str(empty)) == f"headrace: {empty} has no lines\n"
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert "is no text" in said(capsys, "generate", "m", "--sources", str(tmp_path / "bytes"))
