"""What several test suites share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .models import tiny_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the tiny models, made once."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's cache folder of the tests' own, for their child processes too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(folder))
        yield folder
