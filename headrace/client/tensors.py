"""What callers pass and get ↔ the packed little-endian bytes of the wire. Values are checked by the server alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.errors import InvalidInput
from headrace.protos import sequences_pb2 as pb
from headrace.spec import Dtype, Input, ModelSpec, Output

Array = NDArray[np.generic]

#: One step's input: an array-like [time, *shape]; of a model with several inputs a dict by name, or a tuple in order.
Value = ArrayLike | Mapping[str, ArrayLike] | tuple[ArrayLike, ...]

#: One step's output: an array; of a model with several outputs a dict by name. [time, *shape], without time [*shape].
Result = Array | dict[str, Array]

WIRE: Mapping[Dtype, np.dtype[np.generic]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "float16": np.dtype("<f2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "bool": np.dtype("?"),
}

#: Kinds of numpy dtypes that are taken for each wire dtype: numbers convert, but no float becomes a token id.
KINDS: Mapping[Dtype, str] = {
    **dict.fromkeys(("float32", "float64", "float16"), "fiu"),
    **dict.fromkeys(("int64", "int32"), "iu"),
    "bool": "b",
}


def pack(spec: ModelSpec, value: Value) -> tuple[tuple[bytes, ...], int]:
    """One step → the bytes of each input in the spec's order, and its time steps.

    The bytes are a copy: the caller may reuse its buffer while the step is under way, and it may be sent twice.
    Raises InvalidInput where the step could not share a frame with others: names, dtype, rank or trailing shape.
    """
    if len(spec.inputs) == 1 and type(value) is np.ndarray:  # nearly always, and there are many steps
        array = _cast(spec.inputs[0], value)
        return (array.tobytes(),), _length(array)
    arrays = [_cast(i, v) for i, v in zip(spec.inputs, _in_order(spec, value), strict=True)]
    return tuple([a.tobytes() for a in arrays]), _length(*arrays)


def _length(first: Array, *others: Array) -> int:
    length = len(first)
    if others and any(len(a) != length for a in others):
        raise InvalidInput(f"inputs of one step need equally many time steps, got {[length, *map(len, others)]}")
    if not length:
        raise InvalidInput("a step has at least one time step; nothing is there to send")
    return length


def _in_order(spec: ModelSpec, value: Value) -> Sequence[Any]:
    names = [i.name for i in spec.inputs]
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise InvalidInput(f"the model {spec.name} takes the inputs {names}, got {sorted(value)}")
        return [value[name] for name in names]
    if len(names) == 1:
        return [value]
    if not isinstance(value, tuple) or len(value) != len(names):
        raise InvalidInput(f"the model {spec.name} takes {len(names)} inputs: a dict or tuple of {names}")
    return value


def _cast(wanted: Input, value: Any) -> Array:
    dtype = WIRE[wanted.dtype]
    array = np.asarray(value)  # [time, *shape]
    if array.dtype is not dtype:
        if array.dtype.kind not in KINDS[wanted.dtype]:
            raise InvalidInput(f"input {wanted.name} takes {wanted.dtype}, got {array.dtype}; convert it first")
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the server refuses
            given, array = array, array.astype(dtype)
        if dtype.kind == "i" and not np.array_equal(given, array):
            raise InvalidInput(f"input {wanted.name} takes {wanted.dtype}, which cannot hold all numbers of the step")
    if array.shape[1:] != wanted.shape or not array.ndim:
        shape = ", ".join(["time", *map(str, wanted.shape)])
        raise InvalidInput(f"input {wanted.name} takes [{shape}], got {list(array.shape)}")
    return array


def results(spec: ModelSpec, stepped: pb.Stepped) -> Iterator[tuple[int, int, Result]]:
    """Reply columns → (key, position, result) of each row. Raises ValueError if the columns do not fit the spec."""
    keys = np.frombuffer(stepped.keys, "<u4").tolist()
    positions = np.frombuffer(stepped.positions, "<i8").tolist()
    lengths = np.frombuffer(stepped.lengths, "<i8").tolist()
    columns = [_rows(o, v, lengths) for o, v in zip(spec.outputs, stepped.values, strict=True)]
    if len(columns) == 1:
        return zip(keys, positions, columns[0], strict=True)
    names = [o.name for o in spec.outputs]
    return (
        (key, position, dict(zip(names, row, strict=True)))
        for key, position, row in zip(keys, positions, zip(*columns, strict=True), strict=True)
    )


def _rows(output: Output, values: bytes, lengths: list[int]) -> list[Array]:
    """Each row is a copy: a view would keep the whole frame, other callers' rows with it, in memory."""
    count = sum(lengths) if output.time else len(lengths)
    dtype = WIRE[output.dtype]
    if len(values) != count * prod(output.shape) * dtype.itemsize:
        raise ValueError(f"output {output.name} of a reply has {len(values)} bytes, which {count} results do not fill")
    packed: Array = np.frombuffer(values, dtype).reshape(count, *output.shape)  # [tokens or rows, *shape]
    if not output.time:
        return [np.array(row) for row in packed]
    if lengths and lengths.count(lengths[0]) == len(lengths):
        rows: Array = packed.reshape(len(lengths), -1, *output.shape)  # [rows, time, *shape]
        return list(map(np.ndarray.copy, rows))
    return [packed[end - length : end].copy() for length, end in zip(lengths, accumulate(lengths), strict=True)]
