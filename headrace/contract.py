"""The `.onnx` file as the contract between export and server: the spec inside, and whether the graph is as it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from .errors import ConfigurationError
from .spec import METADATA_KEY, ROWS, TOKENS, Dtype, ModelSpec, Signature

ELEMENTS: dict[Dtype, int] = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
"""ONNX's numbers of the spec's dtypes."""


def read_model(file: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    """The model and its spec. Raises ConfigurationError if either is missing, corrupt, or does not fit the other."""
    try:
        model = onnx.load(file)
        onnx.checker.check_model(model)
    except Exception as error:  # the parser and the checker raise what they like
        raise ConfigurationError(f"{file} is not a usable ONNX file ({_first_line(error)}); export it again") from error
    spec = next((p.value for p in model.metadata_props if p.key == METADATA_KEY), None)
    if spec is None:
        raise ConfigurationError(f"{file} carries no Headrace spec in its metadata; export it with `headrace export`")
    found = ModelSpec.from_json(spec)
    try:
        check(model, found)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}; export it again") from error
    return model, found


def with_spec(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """A copy of `model` with `spec` in its metadata."""
    described = onnx.ModelProto()
    described.CopyFrom(model)
    helper.set_model_props(described, {METADATA_KEY: spec.to_json()})
    return described


def check(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Raises ConfigurationError naming every input and output of the graph that is not as `spec` declares it."""
    wrong = [
        *_misfits("input", spec.graph_inputs, model.graph.input),
        *_misfits("output", spec.graph_outputs, model.graph.output),
    ]
    if wrong:
        raise ConfigurationError(f"the graph of {spec.name} does not fit its spec: {'; '.join(wrong)}")


def _misfits(what: str, wanted: Iterable[Signature], there: Iterable[onnx.ValueInfoProto]) -> Iterator[str]:
    found, names = {value.name: value.type.tensor_type for value in there}, set()
    for tensor in wanted:
        names.add(tensor.name)
        if tensor.name not in found:
            yield f"{what} {tensor.name} is missing"
        elif not _equal(tensor, found[tensor.name]):
            yield f"{what} {tensor.name} is {_words(found[tensor.name])}, the spec needs {tensor}"
    for name in found.keys() - names:
        yield f"{what} {name} is not in the spec"


def _equal(tensor: Signature, found: onnx.TypeProto.Tensor) -> bool:
    """The first axis must be symbolic: fixed, the model takes the example's length or batch alone."""
    axes = _axes(found)
    first = axes[0] if axes else 0
    right = isinstance(first, str) and (first == tensor.axis or first not in (TOKENS, ROWS))
    return right and found.elem_type == ELEMENTS[tensor.dtype] and (*axes[1:],) == tensor.shape


def _axes(tensor: onnx.TypeProto.Tensor) -> list[int | str]:
    """Sizes, or names of the symbolic ones."""
    return [axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim]


def _words(tensor: onnx.TypeProto.Tensor) -> str:
    dtype = next((ours for ours, number in ELEMENTS.items() if number == tensor.elem_type), None)
    return f"{dtype or TensorProto.DataType.Name(tensor.elem_type).lower()} [{', '.join(map(str, _axes(tensor)))}]"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
