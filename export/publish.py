"""A verified graph becomes a version of a model: a folder that appears whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import onnx

from headrace.contract import check, read_model, with_spec
from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec

FILE = "model.onnx"

VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")


def publish(
    graph: onnx.ModelProto,
    spec: ModelSpec,
    models: Path,
    version: str | None = None,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> Path:
    """Writes `models/<name>/<version>/model.onnx` with `spec` in its metadata, and returns its path.

    version: by default the next whole number. One that exists is never overwritten.
    beside:  further files of the same folder, by name
    The folder appears by one rename, when its contents are on the disk: whoever watches `models` sees no part of it.
    Raises ConfigurationError if the graph is not valid or does not fit the spec, the version exists, the folder cannot
    be written, or what was written is not read back the same; nothing is left behind then.
    """
    if version is not None and not VERSION.fullmatch(version):
        raise ConfigurationError(f"{version!r} cannot be a version: use letters, digits, '.', '_' and '-'")
    check(graph, spec)
    content = _described(graph, spec)
    home = models / spec.name
    with _writable(home):
        home.mkdir(parents=True, exist_ok=True)
        target = home / (version or _next(home))
        _refuse_existing(target)
        _place({FILE: content, **beside}, target, spec)
    return target / FILE


def _described(graph: onnx.ModelProto, spec: ModelSpec) -> bytes:
    described = with_spec(graph, spec)
    try:
        onnx.checker.check_model(described, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConfigurationError(f"{spec.name}: the graph is not valid ONNX: {error}") from error
    return described.SerializeToString()


def _next(home: Path) -> str:
    """One more than the largest version that is a whole number."""
    return str(1 + max((int(path.name) for path in home.iterdir() if path.name.isdecimal()), default=0))


def _place(files: Mapping[str, bytes], target: Path, spec: ModelSpec) -> None:
    """Writes beside the target, in the same file system, reads the model back as a server will, and renames."""
    hidden = Path(tempfile.mkdtemp(prefix=".", dir=target.parent))
    try:
        hidden.chmod(0o755)  # made for its owner alone; the server may run as somebody else
        for name, content in files.items():
            with (hidden / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _synced(hidden)
        if read_model(hidden / FILE)[1].to_json() != spec.to_json():
            raise ConfigurationError(f"{spec.name}: the spec that was written is read back as another one")
        _refuse_existing(target)
        hidden.rename(target)  # fails on a folder that holds something
        _synced(target.parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise ConfigurationError(f"{target} exists, and versions are never overwritten: choose another version")


def _synced(folder: Path) -> None:
    """Makes the folder's own entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(
            f"{folder} cannot be written ({reason}): make it writable, or name another models folder"
        ) from error
