"""What several test suites share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .models import tiny_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the tiny models, made once."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models(folder)
    return folder
