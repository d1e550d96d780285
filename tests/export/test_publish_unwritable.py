"""A models folder that the user may not write into."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from headrace.errors import ConfigurationError
from headrace.export.publish import publish

from .conftest import Traced

#: Where nobody may make folders, not even root, whom permissions do not stop.
SYSFS = Path("/sys")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_folder_without_permission_is_named(traced: Mapping[str, Traced], tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(ConfigurationError, match=rf"{tmp_path}.* cannot be written \(Permission denied\)"):
            publish(traced["tiny-gru"].graph, traced["tiny-gru"].spec, tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux" or not SYSFS.is_dir(), reason="only Linux has such a folder")
def test_a_folder_in_which_not_even_root_may_write_is_named(traced: Mapping[str, Traced]) -> None:
    with pytest.raises(ConfigurationError, match=r"/sys/headrace-models.* cannot be written \(.+\): make it writable"):
        publish(traced["tiny-gru"].graph, traced["tiny-gru"].spec, SYSFS / "headrace-models")
