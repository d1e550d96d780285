"""Whether a graph is what its spec says: names, dtypes and axes, asked before it is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from headrace.errors import ConfigurationError
from headrace.spec import LENGTHS, ModelSpec

TOKENS, ROWS = "tokens", "rows"
"""Names of a graph's two symbolic axes."""

Axes = tuple[int | str, ...]
Values = dict[str, tuple[int, Axes]]
"""By name: element type (onnx.TensorProto) and axes, symbolic ones by their names."""

ELEMENTS = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}


def fits(graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """Raises ConfigurationError naming every input and output of `graph` that is not as `spec` declares it."""
    wrong = [
        *_differing("input", _inputs(spec), _declared(graph.graph.input)),
        *_differing("output", _outputs(spec), _declared(graph.graph.output)),
    ]
    if wrong:
        raise ConfigurationError(f"the graph of {spec.name} does not fit its spec: {'; '.join(wrong)}")


def _differing(kind: str, wanted: Values, there: Values) -> Iterator[str]:
    for name in sorted(wanted.keys() | there.keys()):
        if name not in there:
            yield f"{kind} {name} is missing"
        elif name not in wanted:
            yield f"{kind} {name} is not in the spec"
        elif wanted[name] != there[name]:
            yield f"{kind} {name} is {_words(there[name])}, the spec needs {_words(wanted[name])}"


def _inputs(spec: ModelSpec) -> Values:
    packed: Values = {i.name: (ELEMENTS[i.dtype], (TOKENS, *i.shape)) for i in spec.inputs}
    states: Values = {s.input: (ELEMENTS[s.dtype], (ROWS, *s.shape)) for s in spec.states}
    return packed | {LENGTHS: (onnx.TensorProto.INT64, (ROWS,))} | states


def _outputs(spec: ModelSpec) -> Values:
    results: Values = {o.name: (ELEMENTS[o.dtype], (TOKENS if o.time else ROWS, *o.shape)) for o in spec.outputs}
    return results | {s.output: (ELEMENTS[s.dtype], (ROWS, *s.shape)) for s in spec.states}


def _declared(values: Iterable[onnx.ValueInfoProto]) -> Values:
    return {value.name: (value.type.tensor_type.elem_type, _axes(value.type.tensor_type.shape)) for value in values}


def _axes(shape: onnx.TensorShapeProto) -> Axes:
    return tuple(axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in shape.dim)


def _words(value: tuple[int, Axes]) -> str:
    return f"{onnx.TensorProto.DataType.Name(value[0])} [{', '.join(map(str, value[1]))}]"
