"""A checkpoint is whole or not there, and tells what it is of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from headrace.errors import ConfigurationError
from headrace.training import checkpoint


class Unwritable:
    """Something that pickle refuses half way: a disk that fails in the middle of a file looks the same."""

    def __reduce__(self) -> str:
        raise OSError("no space left")


def test_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.pt"
    checkpoint.write(path, {"identity": {"task": "a"}, "model": torch.ones(3)})
    with pytest.raises(ConfigurationError, match="no space left"):
        checkpoint.write(path, {"identity": {"task": "a"}, "model": torch.zeros(3), "bad": Unwritable()})
    assert checkpoint.read(path)["model"].tolist() == [1, 1, 1]


def test_another_architecture_is_refused_by_both_names(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint.write(path, {"identity": {"task": "vowels-gru"}})
    assert checkpoint.expect(path, {"task": "vowels-gru"})["identity"] == {"task": "vowels-gru"}
    with pytest.raises(ConfigurationError, match=r"vowels-gru.*vowels-lstm"):
        checkpoint.expect(path, {"task": "vowels-lstm"})


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 cut short", b"not a checkpoint", b"hi\n", b"\x80\x02", b"\xff\xfe"]
)
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        checkpoint.read(path)
    assert "weights_only" not in str(caught.value)  # the library's advice to load it as code


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        checkpoint.read(tmp_path / "none.pt")
    torch.save({"weight": torch.ones(1)}, tmp_path / "foreign.pt")
    with pytest.raises(ConfigurationError, match="not a checkpoint of this project"):
        checkpoint.read(tmp_path / "foreign.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"identity": Path("x")}, tmp_path / "x.pt")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        checkpoint.read(tmp_path / "x.pt")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        checkpoint.write(tmp_path / "file" / "x.pt", {"identity": {}})
