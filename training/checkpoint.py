"""Checkpoints: written whole or not at all, read as plain tensors and values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from headrace.errors import ConfigurationError

Content = dict[str, Any]
"""Tensors and plain values, with the key "identity" for what it is a checkpoint of."""


def write(path: Path, content: Content) -> None:
    """Replaces `path` in one step, so that a reader or a crash never meets half a file.

    Raises ConfigurationError if the folder cannot be written.
    """
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from error


def read(path: Path) -> Content:
    """The content of `path`, tensors on the CPU. Raises ConfigurationError if it is not a checkpoint."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read as a checkpoint: {error.strerror or error}") from error
    except Exception as error:  # the unpickler raises whatever the bytes lead it to, and advises to trust them
        raise ConfigurationError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): it is cut short, of another kind, or "
            "holds more than tensors and plain values"
        ) from error
    if not isinstance(content, dict) or "identity" not in content:
        raise ConfigurationError(f"{path} is not a checkpoint of this project: it does not say what it is of")
    return content


def expect(path: Path, identity: Content) -> Content:
    """`read`, for going on. Raises ConfigurationError, naming both, if it is a checkpoint of something else."""
    content = read(path)
    if content["identity"] != identity:
        raise ConfigurationError(
            f"{path} is a checkpoint of {content['identity']}, but this run is of {identity}: "
            "train into another folder, or afresh"
        )
    return content
