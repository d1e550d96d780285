import numpy as np
import pytest

from headrace.client.tensors import pack, results
from headrace.errors import InvalidInput
from headrace.protos import sequences_pb2 as pb
from headrace.spec import Input

from .specs import PAIR, SUM, TOKENS


def test_numbers_are_converted_and_copied() -> None:
    x = np.arange(6, dtype=np.float64).reshape(3, 2)
    (packed,), length = pack(SUM, x)
    x[:] = -1
    assert length == 3
    assert np.frombuffer(packed, "<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_columns_that_are_not_contiguous_are_packed_in_order() -> None:
    (packed,), _ = pack(SUM, np.arange(6, dtype=np.float32).reshape(2, 3).T)
    assert np.frombuffer(packed, "<f4").tolist() == [0, 3, 1, 4, 2, 5]


def test_several_inputs_by_name_or_in_order() -> None:
    by_name = pack(PAIR, {"id": [7, 8], "x": [[1, 2], [3, 4]]})
    assert by_name == pack(PAIR, ([[1, 2], [3, 4]], np.array([7, 8], np.int32)))
    assert np.frombuffer(by_name[0][1], "<i8").tolist() == [7, 8]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([1.0, 2.0], r"takes \[time, 2\], got \[2\]"),
        ([[1.0, 2.0, 3.0]], r"takes \[time, 2\], got \[1, 3\]"),
        ([["a", "b"]], "takes float32"),
        (np.zeros((0, 2)), "at least one time step"),
    ],
)
def test_what_cannot_share_a_frame_is_refused(value: object, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        pack(SUM, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([[1.0, 2.0]], "takes 2 inputs"),
        ({"x": [[1, 2]]}, "takes the inputs"),
        (([[1, 2]], [1.5]), "input id takes int64, got float64"),
        (([[1, 2]], [1, 2]), r"equally many time steps, got \[1, 2\]"),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(value: object, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        pack(PAIR, value)  # type: ignore[arg-type]


def test_numbers_that_the_dtype_cannot_hold_are_refused() -> None:
    narrow = SUM.model_copy(update={"inputs": (Input(name="x", dtype="int32"),)})
    assert pack(narrow, [1 << 30, -1])[0] == (np.array([1 << 30, -1], "<i4").tobytes(),)
    with pytest.raises(InvalidInput, match="takes int32, which cannot hold all numbers"):
        pack(narrow, [1 << 31])


def test_a_number_without_time_axis_is_no_step() -> None:
    with pytest.raises(InvalidInput, match=r"takes \[time\], got \[\]"):
        pack(TOKENS, np.array(1))


def _stepped(values: bytes, *lengths: int) -> pb.Stepped:
    columns = [np.array([4, 9], dtype).tobytes() for dtype in ("<u4", "<i8")]
    return pb.Stepped(
        keys=columns[0], positions=columns[1], lengths=np.array(lengths, "<i8").tobytes(), values=[values]
    )


@pytest.mark.parametrize(
    ("lengths", "last"), [((2, 1), [[4, 5]]), ((2, 2), [[4, 5], [6, 7]]), ((1, 3), [[2, 3], [4, 5], [6, 7]])]
)
def test_rows_of_a_reply_are_split_by_length(lengths: tuple[int, int], last: list[list[float]]) -> None:
    values = np.arange(2 * sum(lengths), dtype="<f4").tobytes()
    _, (key, position, second) = results(SUM, _stepped(values, *lengths))
    assert (key, position) == (9, 9)
    np.testing.assert_array_equal(second, last)  # type: ignore[arg-type]


@pytest.mark.parametrize("lengths", [(2, 1), (1, 1)])
def test_rows_of_a_reply_are_their_receivers_own(lengths: tuple[int, int]) -> None:
    """A view would keep all other rows in memory, and could not be written to."""
    for _, _, result in results(SUM, _stepped(bytes(8 * sum(lengths)), *lengths)):
        row = np.asarray(result)
        assert row.flags.writeable and (row.base is None or row.base.nbytes == row.nbytes)


def test_a_reply_that_does_not_fit_the_spec_is_refused() -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        results(SUM, _stepped(bytes(20), 2, 1))
