"""The `.onnx` file as the contract between export and server: the spec inside, and whether the graph is as it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from .errors import ConfigurationError
from .spec import METADATA_KEY, ROWS, TOKENS, Dtype, ModelSpec, Signature

ELEMENTS: dict[Dtype, int] = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
}
"""ONNX's numbers of the spec's dtypes."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a graph says of one of its inputs or outputs.

    element: ONNX's number of the dtype
    axes:    sizes, names of symbolic axes, "?" for those without; None if it declares no shape
    """

    element: int
    axes: tuple[int | str, ...] | None

    @property
    def dtype(self) -> Dtype | None:
        """None for one that no spec can say."""
        return next((ours for ours, number in ELEMENTS.items() if number == self.element), None)

    def __str__(self) -> str:
        shape = "of undeclared shape" if self.axes is None else f"[{', '.join(map(str, self.axes))}]"
        return f"{self.dtype or TensorProto.DataType.Name(self.element).lower()} {shape}"


def declared(values: Iterable[onnx.ValueInfoProto]) -> dict[str, Declared]:
    """name → what the graph says of it."""
    return {value.name: _declared(value.type.tensor_type) for value in values}


def read_graph(file: Path) -> onnx.ModelProto:
    """Any `.onnx` file, ours or not. Raises ConfigurationError if it is missing or corrupt."""
    try:
        model = onnx.load(file)
        if not carries_spec(model):
            _open_axes(model.graph)
        _check(model)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # the parser and the checker raise what they like
        raise ConfigurationError(f"{file} is not a usable ONNX file ({_first_line(error)})") from error
    return model


def _open_axes(graph: onnx.GraphProto) -> None:
    """Old exporters wrote a size of 0 for any size; no tensor that is served has an axis of no cells."""
    for value in (*graph.input, *graph.output):
        for axis in value.type.tensor_type.shape.dim if _shaped(value) else ():
            if axis.HasField("dim_value") and axis.dim_value == 0:
                axis.ClearField("dim_value")


def _check(model: onnx.ModelProto) -> None:
    """As ONNX does, but for tensors of undeclared shape, which run all the same. Raises whatever it raises."""
    bare = [
        value.type.tensor_type
        for value in (*model.graph.input, *model.graph.output)
        if value.type.HasField("tensor_type") and not _shaped(value)
    ]
    for tensor in bare:
        tensor.shape.SetInParent()
    onnx.checker.check_model(model)
    for tensor in bare:
        tensor.ClearField("shape")


def _shaped(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape")


def carries_spec(model: onnx.ModelProto) -> bool:
    """Whether it says itself what its server needs to know."""
    return any(prop.key == METADATA_KEY for prop in model.metadata_props)


def read_model(file: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    """The model and its spec. Raises ConfigurationError if either is missing, corrupt, or does not fit the other."""
    model = read_graph(file)
    return model, spec_in(model, file)


def spec_in(model: onnx.ModelProto, file: Path) -> ModelSpec:
    """The spec that stands in a model. Raises ConfigurationError if there is none, or they do not fit each other."""
    spec = next((p.value for p in model.metadata_props if p.key == METADATA_KEY), None)
    if spec is None:
        raise ConfigurationError(
            f"{file} carries no Headrace spec in its metadata; export it with `headrace export`, or describe it in a "
            "model.toml beside it: `headrace adopt` drafts one"
        )
    found = ModelSpec.from_json(spec)
    try:
        check(model, found)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}; export it again") from error
    return found


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
    found, names = declared(there), set()
    for tensor in wanted:
        names.add(tensor.name)
        if tensor.name not in found:
            yield f"{what} {tensor.name} is missing"
        elif not _equal(tensor, found[tensor.name]):
            yield f"{what} {tensor.name} is {found[tensor.name]}, the spec needs {tensor}"
    for name in found.keys() - names:
        yield f"{what} {name} is not in the spec"


def _equal(tensor: Signature, found: Declared) -> bool:
    """The first axis must be symbolic: fixed, the model takes the example's length or batch alone."""
    axes = found.axes or (0,)
    right = isinstance(axes[0], str) and (axes[0] == tensor.axis or axes[0] not in (TOKENS, ROWS))
    return right and found.element == ELEMENTS[tensor.dtype] and axes[1:] == tensor.shape


def _declared(tensor: onnx.TypeProto.Tensor) -> Declared:
    if not tensor.HasField("shape"):
        return Declared(tensor.elem_type, None)
    axes = (axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim)
    return Declared(tensor.elem_type, tuple(axes))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
