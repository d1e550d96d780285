"""Values of constants that are known: whether their dtype can hold them, and how `model.toml` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headrace.contract import Declared
from headrace.dtypes import holds
from headrace.errors import ConfigurationError


def check(values: Mapping[str, float], inputs: Mapping[str, Declared]) -> None:
    """Raises ConfigurationError naming each input that is no constant, and each value that its dtype would bend."""
    if wrong := [*_varying(values, inputs), *_bent(values, inputs)]:
        raise ConfigurationError("; ".join(wrong))


def written(value: float, dtype: str | None) -> str:
    """In TOML, as a number of its dtype."""
    if dtype == "bool":
        return str(bool(value)).lower()
    return str(int(value)) if dtype in ("int32", "int64") else repr(float(value))


def _varying(values: Mapping[str, float], inputs: Mapping[str, Declared]) -> Iterator[str]:
    for name in values:
        if any(isinstance(axis, str) for axis in inputs[name].axes or ()):
            yield f"{name} is {inputs[name]}: only an input of fixed shape can be a constant"


def _bent(values: Mapping[str, float], inputs: Mapping[str, Declared]) -> Iterator[str]:
    for name, value in values.items():
        dtype = inputs[name].dtype
        if dtype is not None and not holds(dtype, value):
            yield f"{name} is {inputs[name]}: its dtype does not hold {value:g}"
