"""Tensors in both forms, padded and packed: what goes in comes out in the same form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.protos import inference_pb2 as pb
from headrace.ragged import Ragged
from headrace.server.rpc.inference_tensors import MASK, decode, encode, requested
from headrace.spec import Chunk, Dtype, Input, ModelSpec, Output

from ..fakes import STATELESS_SUM, SUM
from .oip import add_input, request, tensors

X = np.arange(6, dtype=np.float32).reshape(3, 2)

#: Two inputs, one of token ids.
PAIR = ModelSpec(
    name="pair",
    inputs=(Input(name="x", dtype="float32", shape=(2,)), Input(name="t", dtype="int64")),
    outputs=(Output(name="y", dtype="float32", shape=(2,), time=True),),
    chunk=Chunk(longest=8),
)


def with_lengths(x: np.ndarray, lengths: list[int]) -> pb.ModelInferRequest:
    message = request("m", x)
    add_input(message, "lengths", np.array(lengths))
    return message


def with_mask(x: np.ndarray, mask: np.ndarray) -> pb.ModelInferRequest:
    message = request("m", x)
    add_input(message, MASK, mask)
    return message


def answered(message: pb.ModelInferRequest, spec: ModelSpec = STATELESS_SUM) -> dict[str, np.ndarray]:
    """The inputs sent back as output y, and each row's number as `last`."""
    packed, response = decode(spec, message), pb.ModelInferResponse()
    rows = Ragged(packed.values[0], packed.lengths)
    encode(response, spec.outputs[0], [row.tobytes() for row in rows], packed)
    encode(response, spec.outputs[1], [np.full(2, n, np.float32).tobytes() for n in range(len(rows))], packed)
    return tensors(response)


@pytest.mark.parametrize("spec", [SUM, STATELESS_SUM])
def test_one_step_comes_back_in_the_rank_it_had(spec: ModelSpec) -> None:
    for x in (X, X[None], X[:1], X[None, :1]):
        got = answered(request("m", x), spec)
        np.testing.assert_array_equal(got["y"], x)
        assert got["last"].shape == (1, 2)


def test_rows_of_one_length_need_no_lengths() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    packed = decode(STATELESS_SUM, request("m", x))
    assert packed.lengths.tolist() == [3, 3]
    np.testing.assert_array_equal(answered(request("m", x))["y"], x)


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.int32])
def test_a_mask_says_the_same_as_lengths(dtype: type[np.generic]) -> None:
    x, mask = np.arange(12, dtype=np.float32).reshape(2, 3, 2), np.array([[1, 1, 1], [1, 0, 0]], dtype)
    told = decode(STATELESS_SUM, with_mask(x, mask))
    same = decode(STATELESS_SUM, with_lengths(x, [3, 1]))
    assert told.lengths.tolist() == [3, 1] and told.padded == same.padded == 3
    np.testing.assert_array_equal(told.values[0], same.values[0])
    np.testing.assert_array_equal(answered(with_mask(x, mask))["y"], answered(with_lengths(x, [3, 1]))["y"])


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.array([[1, 1, 1], [1, 0, 1]]), "row 1 of attention_mask"),  # a hole
        (np.array([[0, 1, 1], [1, 0, 0]]), "row 0 of attention_mask"),  # padding in front
        (np.array([[1, 1, 1], [0, 0, 0]]), "row 1 of attention_mask"),  # nothing
        (np.array([[1, 1, 2], [1, 0, 0]]), "row 0 of attention_mask"),
        (np.array([[1, 1], [1, 0]]), r"it must be \[batch, time\]"),
        (np.array([1, 1, 1]), r"it must be \[batch, time\]"),
        (np.array([[1.0, 1, 1], [1, 0, 0]], np.float32), "must be of BOOL, not 'FP32'"),
    ],
)
def test_a_mask_that_says_no_lengths_is_refused(mask: np.ndarray, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        decode(STATELESS_SUM, with_mask(np.zeros((2, 3, 2), np.float32), mask))


def test_packed_rows_have_no_mask_and_lengths_are_told_once() -> None:
    with pytest.raises(InvalidInput, match="must be"):
        decode(STATELESS_SUM, with_mask(X, np.ones((1, 3), np.int64)))
    twice = with_lengths(X[None], [3])
    add_input(twice, MASK, np.ones((1, 3), np.int64))
    with pytest.raises(InvalidInput, match="takes the inputs x once each"):
        decode(STATELESS_SUM, twice)


def test_a_model_may_have_an_input_of_the_masks_name() -> None:
    own = STATELESS_SUM.model_copy(update={"inputs": (*STATELESS_SUM.inputs, Input(name=MASK, dtype="int64"))})
    packed = decode(own, with_mask(X[None], np.array([[1, 0, 1]])))
    assert packed.lengths.tolist() == [3] and packed.values[1].tolist() == [1, 0, 1]


def test_padding_is_cut_off_and_comes_back_as_zeros() -> None:
    x = np.arange(1, 13, dtype=np.float32).reshape(2, 3, 2)
    message = with_lengths(x, [1, 2])
    np.testing.assert_array_equal(decode(STATELESS_SUM, message).values[0], np.concatenate([x[0, :1], x[1, :2]]))
    expected = x.copy()
    expected[0, 1:] = expected[1, 2:] = 0
    np.testing.assert_array_equal(answered(message)["y"], expected)


def test_packed_rows_stay_packed() -> None:
    got = answered(with_lengths(X, [2, 1]))
    np.testing.assert_array_equal(got["y"], X)
    assert got["last"].tolist() == [[0, 0], [1, 1]]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 3))
def test_padded_and_packed_say_the_same(lengths: list[int], more: int) -> None:
    rows = [np.random.default_rng(n).normal(size=(length, 2)).astype(np.float32) for n, length in enumerate(lengths)]
    padded = np.full((len(rows), max(lengths) + more, 2), np.nan, np.float32)
    for row, cells in zip(padded, rows, strict=True):
        row[: len(cells)] = cells
    one = decode(STATELESS_SUM, with_lengths(padded, lengths))
    other = decode(STATELESS_SUM, with_lengths(np.concatenate(rows), lengths))
    np.testing.assert_array_equal(one.values[0], other.values[0])
    assert one.lengths.tolist() == other.lengths.tolist() == lengths


def test_typed_contents_say_the_same_as_raw() -> None:
    message = pb.ModelInferRequest()
    x = message.inputs.add(name="x", datatype="FP32", shape=[2, 2])
    x.contents.fp32_contents.extend([1, 2, 3, 4.5])
    t = message.inputs.add(name="t", datatype="INT64", shape=[2])
    t.contents.int64_contents.extend([7, -(1 << 40)])
    packed = decode(PAIR, message)
    assert packed.values[0].tolist() == [[1, 2], [3, 4.5]]
    assert packed.values[1].tolist() == [7, -(1 << 40)]
    assert [v.dtype for v in packed.values] == [np.float32, np.int64]


@pytest.mark.parametrize(
    ("dtype", "datatype", "field"),
    [
        ("float64", "FP64", "fp64_contents"),
        ("int32", "INT32", "int_contents"),
        ("bool", "BOOL", "bool_contents"),
        ("float16", "FP16", None),
    ],
)
def test_other_dtypes_come_raw_or_in_their_own_field(dtype: Dtype, datatype: str, field: str | None) -> None:
    spec = STATELESS_SUM.model_copy(update={"inputs": (Input(name="x", dtype=dtype),)})
    cells = np.array([1, 0, 1], dtype)
    raw = pb.ModelInferRequest(raw_input_contents=[cells.tobytes()])
    typed = pb.ModelInferRequest()
    for message in (raw, typed):
        message.inputs.add(name="x", datatype=datatype, shape=[3])
    (values,) = decode(spec, raw).values
    assert values.dtype == cells.dtype and values.tolist() == cells.tolist()
    if field is None:
        with pytest.raises(InvalidInput, match="raw_input_contents alone"):
            decode(spec, typed)
    else:
        typed.inputs[0].contents.MergeFrom(pb.InferTensorContents(**{field: cells.tolist()}))
        assert decode(spec, typed).values[0].tolist() == cells.tolist()


def test_inputs_are_told_by_name_not_by_place() -> None:
    message = pb.ModelInferRequest()
    add_input(message, "t", np.array([4, 5]))
    add_input(message, "x", np.ones((2, 2), np.float32))
    assert decode(PAIR, message).values[1].tolist() == [4, 5]


def test_inputs_share_their_time_axis() -> None:
    message = request("m", np.ones((2, 2), np.float32))
    add_input(message, "t", np.array([4, 5, 6]))
    with pytest.raises(InvalidInput, match="same batch and time axes"):
        decode(PAIR, message)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(2, np.float32),
        np.zeros((3, 3), np.float32),
        np.zeros((1, 1, 3, 2), np.float32),
        np.zeros((0, 2), np.float32),
        np.zeros((0, 3, 2), np.float32),
        np.zeros((3, 2), np.int64),
    ],
    ids=["rank 1", "features", "rank 4", "no time", "no rows", "datatype"],
)
def test_a_wrong_tensor_is_refused(x: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="input x"):
        decode(STATELESS_SUM, request("m", x))


@pytest.mark.parametrize("lengths", [[1], [1, 2, 3], [0, 3], [1, 4], [-1, 4], [1 << 62, 1 << 62]])
def test_wrong_lengths_are_refused_padded(lengths: list[int]) -> None:
    with pytest.raises(InvalidInput):
        decode(STATELESS_SUM, with_lengths(np.zeros((2, 3, 2), np.float32), lengths))


@pytest.mark.parametrize("lengths", [[1], [1, 1], [0, 3], [-1, 4], [2, 2], [1 << 62, 1 << 62, 1 << 62, (1 << 62) + 3]])
def test_wrong_lengths_are_refused_packed(lengths: list[int]) -> None:
    with pytest.raises(InvalidInput):
        decode(STATELESS_SUM, with_lengths(X, lengths))


def test_lengths_have_one_axis() -> None:
    message = request("m", X[None])
    add_input(message, "lengths", np.array([[3]]))
    with pytest.raises(InvalidInput, match=r"must be \[batch\]"):
        decode(STATELESS_SUM, message)


def test_a_stateful_request_is_one_row() -> None:
    for message in (request("m", np.zeros((2, 3, 2), np.float32)), with_lengths(X, [2, 1])):
        with pytest.raises(InvalidInput, match="batch of 1"):
            decode(SUM, message)


def test_a_shape_that_its_bytes_do_not_fill_is_refused() -> None:
    for shape in ([4, 2], [1 << 62, 2], [-1, 2], [-3, -1, 2]):
        message = request("m", X)
        message.inputs[0].shape[:] = shape
        with pytest.raises(InvalidInput, match="input x"):
            decode(STATELESS_SUM, message)


def test_cut_bytes_are_refused() -> None:
    message = request("m", X)
    message.raw_input_contents[0] = message.raw_input_contents[0][:-1]
    with pytest.raises(InvalidInput, match="cut short"):
        decode(STATELESS_SUM, message)


def test_contents_are_all_raw_or_none() -> None:
    message = request("m", X)
    message.inputs.add(name="lengths", datatype="INT64", shape=[1])
    with pytest.raises(InvalidInput, match="one entry for each"):
        decode(STATELESS_SUM, message)


def test_names_are_the_specs() -> None:
    unknown, twice = request("m", X), request("m", X)
    add_input(unknown, "z", X)
    add_input(twice, "x", X)
    for message in (unknown, twice, request("m")):
        with pytest.raises(InvalidInput, match="takes the inputs x once each"):
            decode(STATELESS_SUM, message)


def test_outputs_are_chosen_by_name() -> None:
    message = request("m")
    assert requested(SUM, message) == (0, 1)
    message.outputs.add(name="last")
    assert requested(SUM, message) == (1,)
    message.outputs.add(name="z")
    with pytest.raises(InvalidInput, match="no output 'z'; it has: y, last"):
        requested(SUM, message)


def test_extensions_that_are_not_served_are_refused() -> None:
    message = request("m")
    message.outputs.add(name="y").parameters["classification"].int64_param = 3
    with pytest.raises(InvalidInput, match="plain tensors"):
        requested(SUM, message)
