"""Open Inference tensors ↔ ragged rows. Padding is cut off here, on the way in, and put back on the way out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from math import prod
from typing import NamedTuple, assert_never

import numpy as np

from headrace.errors import InvalidInput
from headrace.protos import inference_pb2 as pb
from headrace.ragged import Ragged
from headrace.spec import LENGTHS, Dtype, Input, ModelSpec, Output

from ..models import shortened
from ..steps import Array, Rows
from .cells import CELLS

#: An optional input, unless the model has one of that name: 1 where a padded row has a time step, 0 behind its end.
MASK = "attention_mask"

Tensor = pb.ModelInferRequest.InferInputTensor
Tensors = dict[str, tuple[Tensor, bytes | None]]  # name → its head, and its cells if they are raw

#: The protocol's name of a dtype.
DATATYPE: dict[Dtype, str] = {
    "float32": "FP32",
    "float64": "FP64",
    "float16": "FP16",
    "int64": "INT64",
    "int32": "INT32",
    "bool": "BOOL",
}


#: What a mask may be of.
MASKS: tuple[Dtype, ...] = ("bool", "int64", "int32")


class Packed(NamedTuple):
    """The rows of a request.

    values:  [tokens, *shape] for each input of the spec
    lengths: [rows]
    padded:  time axis of the request's own tensors [rows, padded, *shape]; None if they were packed already
    """

    values: tuple[Array, ...]
    lengths: Rows
    padded: int | None


def decode(spec: ModelSpec, request: pb.ModelInferRequest) -> Packed:
    """The request's tensors, packed. They come in one of two forms, told by their rank:

    [tokens, *shape]        one step; or with `lengths` [rows], several back to back
    [batch, time, *shape]   steps of equal length; or with `lengths` [batch], padded to one length; or with
                            `attention_mask` [batch, time], of booleans or integers, which says the same

    Raises InvalidInput if names, datatypes, shapes, sizes or lengths are not the spec's, or do not fit each other.
    """
    tensors = _named(spec, request)
    arrays = [_read(given, *tensors[given.name]) for given in spec.inputs]
    leads = {array.shape[: array.ndim - len(given.shape)] for array, given in zip(arrays, spec.inputs, strict=True)}
    if len(leads) > 1:
        raise InvalidInput(f"the inputs of {spec.name} need the same batch and time axes; got {sorted(leads)}")
    lead = leads.pop()
    lengths = _told(spec, tensors, lead)
    packed = _packed(arrays, lead[0], lengths) if len(lead) == 1 else _cut(arrays, lead, lengths)
    if spec.stateful and len(packed.lengths) != 1:
        raise InvalidInput(f"{spec.name} is stateful: a request is one step of one sequence, a batch of 1")
    return packed


def _packed(arrays: list[Array], tokens: int, lengths: Rows | None) -> Packed:
    """Arrays [tokens, ...], rows back to back."""
    if lengths is None:
        return Packed(tuple(arrays), np.array([tokens], np.int64), None)
    if lengths.max() > tokens:  # so that no sum of them can overflow
        raise InvalidInput(f"{LENGTHS} holds {lengths.max()}, but there are {tokens} time steps")
    return Packed(tuple(Ragged(array, lengths).values for array in arrays), lengths, None)


def _cut(arrays: list[Array], lead: tuple[int, ...], lengths: Rows | None) -> Packed:
    """Arrays [batch, time, ...]: what is behind a row's length is dropped. lead: batch, time."""
    batch, time = lead
    if lengths is None:
        flat = tuple(array.reshape(batch * time, *array.shape[2:]) for array in arrays)
        return Packed(flat, np.full(batch, time, np.int64), time)
    if len(lengths) != batch or lengths.min() < 1 or lengths.max() > time:
        raise InvalidInput(f"{LENGTHS} needs {batch} numbers, one for each row, from 1 to {time}, the time axis")
    mask = np.arange(time) < lengths[:, None]  # [batch, time]
    return Packed(tuple(array[mask] for array in arrays), lengths, time)


def _told(spec: ModelSpec, tensors: Tensors, lead: tuple[int, ...]) -> Rows | None:
    """The lengths, if the request tells them. lead: its tensors' first axes."""
    match _teller(spec, tensors):
        case None:
            return None
        case str(name) if name == MASK:
            return _unmasked(*tensors[MASK], lead)
        case str(name):
            return _lengths(*tensors[name])


def _teller(spec: ModelSpec, tensors: Tensors) -> str | None:
    """The input that tells lengths and is not the model's own, if there is one."""
    own = {given.name for given in spec.inputs}
    return next((name for name in (LENGTHS, MASK) if name in tensors and name not in own), None)


def _named(spec: ModelSpec, request: pb.ModelInferRequest) -> Tensors:
    heads, raws = request.inputs, request.raw_input_contents
    if raws and len(raws) != len(heads):
        raise InvalidInput(f"raw_input_contents needs one entry for each of {len(heads)} inputs, not {len(raws)}")
    tensors = {head.name: (head, raw) for head, raw in zip(heads, raws or repeat(None), strict=False)}
    known = all(given.name in tensors for given in spec.inputs)
    if not known or not len(heads) == len(tensors) == len(spec.inputs) + (_teller(spec, tensors) is not None):
        names, got = ", ".join(given.name for given in spec.inputs), ", ".join(head.name for head in heads)
        raise InvalidInput(f"{spec.name} takes the inputs {names} once each, not {shortened(got)}")
    return tensors


def _read(given: Input, tensor: Tensor, raw: bytes | None) -> Array:
    """[time, *shape] or [batch, time, *shape]."""
    shape, own = tuple(tensor.shape), given.shape
    axes = len(shape) - len(own)
    if axes not in (1, 2) or shape[axes:] != own:
        raise InvalidInput(f"input {given.name} has the shape {list(shape)}; it must be {_shapes(own)}")
    return _array(given.dtype, shape, tensor, raw)


def _lengths(tensor: Tensor, raw: bytes | None) -> Rows:
    if len(tensor.shape) != 1:
        raise InvalidInput(f"input {LENGTHS} has the shape {list(tensor.shape)}; it must be [batch]")
    lengths: Rows = _array("int64", tuple(tensor.shape), tensor, raw)
    return lengths


def _unmasked(tensor: Tensor, raw: bytes | None, lead: tuple[int, ...]) -> Rows:
    """[batch] the length of each row, from its mask [batch, time]: ones, then zeros."""
    dtype = next((dtype for dtype in MASKS if DATATYPE[dtype] == tensor.datatype), MASKS[0])
    if len(lead) != 2 or tuple(tensor.shape) != lead:
        raise InvalidInput(
            f"input {MASK} has the shape {list(tensor.shape)}; it must be [batch, time], as the inputs it tells of are"
        )
    mask = _array(dtype, lead, tensor, raw)  # [batch, time]
    lengths: Rows = np.count_nonzero(mask, axis=1).astype(np.int64)
    sound = (mask == (np.arange(lead[1]) < lengths[:, None])).all(axis=1) & (lengths > 0)
    if not sound.all():
        raise InvalidInput(
            f"row {int(sound.argmin())} of {MASK} is not ones for its time steps, one at least, and zeros behind them; "
            "holes and padding in front are not served"
        )
    return lengths


def _array(dtype: Dtype, shape: tuple[int, ...], tensor: Tensor, raw: bytes | None) -> Array:
    if tensor.datatype != DATATYPE[dtype]:
        raise InvalidInput(f"input {tensor.name} must be of {DATATYPE[dtype]}, not {shortened(tensor.datatype)}")
    if min(shape) < 1:
        raise InvalidInput(f"input {tensor.name} has the shape {list(shape)}; every axis must be 1 or more")
    flat = _contents(dtype, tensor) if raw is None else _raw(tensor.name, CELLS[dtype], raw)
    if len(flat) != prod(shape):
        raise InvalidInput(f"input {tensor.name} holds {len(flat)} numbers, its shape {list(shape)} says {prod(shape)}")
    return flat.reshape(shape)


def _raw(name: str, cells: np.dtype[np.generic], raw: bytes) -> Array:
    if len(raw) % cells.itemsize:
        raise InvalidInput(
            f"input {name} has {len(raw)} bytes, which is no multiple of {cells.itemsize}; is it cut short?"
        )
    return np.frombuffer(raw, cells)


def _contents(dtype: Dtype, tensor: Tensor) -> Array:
    """The field of the dtype; the protocol has none for FP16."""
    contents = tensor.contents
    match dtype:
        case "float32":
            return np.array(contents.fp32_contents, CELLS[dtype])
        case "float64":
            return np.array(contents.fp64_contents, CELLS[dtype])
        case "int64":
            return np.array(contents.int64_contents, CELLS[dtype])
        case "int32":
            return np.array(contents.int_contents, CELLS[dtype])
        case "bool":
            return np.array(contents.bool_contents, CELLS[dtype])
        case "float16":
            raise InvalidInput(f"input {tensor.name} is of FP16, which travels in raw_input_contents alone")
        case _:
            assert_never(dtype)


def _shapes(own: tuple[int, ...]) -> str:
    axes = "".join(f", {size}" for size in own)
    return f"[time{axes}] or [batch, time{axes}]"


def requested(spec: ModelSpec, request: pb.ModelInferRequest) -> tuple[int, ...]:
    """Which outputs of the spec are to be answered, in order; all, if none is named. Raises InvalidInput."""
    if not request.outputs:
        return tuple(range(len(spec.outputs)))
    names = [output.name for output in spec.outputs]
    for output in request.outputs:
        if output.name not in names:
            raise InvalidInput(f"{spec.name} has no output {shortened(output.name)}; it has: {', '.join(names)}")
        if {"classification", "shared_memory_region"} & set(output.parameters):
            raise InvalidInput(
                f"output {output.name}: only plain tensors are served, without classification or shared memory"
            )
    return tuple(names.index(output.name) for output in request.outputs)


def encode(response: pb.ModelInferResponse, output: Output, rows: Sequence[bytes], packed: Packed) -> None:
    """Adds an output in the form of the request. rows: the little-endian cells of each, [time, *shape] or [*shape]."""
    lead: tuple[int, ...] = (len(rows),)
    if output.time and packed.padded is None:
        lead = (len(packed.values[0]),)
    elif output.time and packed.padded is not None:
        lead = (len(rows), packed.padded)
        size = packed.padded * prod(output.shape) * CELLS[output.dtype].itemsize
        rows = [row.ljust(size, b"\0") for row in rows]
    response.outputs.add(name=output.name, datatype=DATATYPE[output.dtype], shape=(*lead, *output.shape))
    response.raw_output_contents.append(b"".join(rows))
