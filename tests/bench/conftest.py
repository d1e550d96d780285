"""The reference decoder, exported once for all tests of the measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.bench.decoder import reference_decoder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, in a folder `models` of its own."""
    return reference_decoder(tmp_path_factory.mktemp("decoder") / "models")
