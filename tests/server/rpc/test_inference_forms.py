"""A request of a known form means what it would mean alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from headrace.errors import InvalidInput
from headrace.protos import inference_pb2 as pb
from headrace.server.models import Models
from headrace.server.rpc.inference_forms import LONGEST_FORM, MOST_FORMS, MOST_ROWS, Forms
from headrace.server.rpc.inference_request import Ask, understand

from ..fakes import STATELESS_SUM, SUM, Clock, sum_lane
from .oip import ScriptedLane, add_input, request, served

X = np.arange(6, dtype=np.float32).reshape(3, 2)
LANES = [ScriptedLane(), ScriptedLane()]
MODELS = Models([served(SUM, *LANES), served(STATELESS_SUM, *LANES)])


def said(ask: Ask) -> object:
    """All that is asked, of whichever lane."""
    packed = ask.packed
    tensors = [(values.dtype, values.tolist()) for values in packed.values]
    return ask.model, ask.name, ask.options, ask.outputs, tensors, packed.lengths.tolist(), packed.padded


def copy(message: pb.ModelInferRequest) -> pb.ModelInferRequest:
    return pb.ModelInferRequest.FromString(message.SerializeToString())


def outputs_first() -> pb.ModelInferRequest:
    message = request("sum", X, sequence_id=1)
    message.outputs.add(name="last")
    return message


def with_lengths() -> pb.ModelInferRequest:
    message = request("stateless-sum", X)
    add_input(message, "lengths", np.array([1, 2]))
    return message


@pytest.mark.parametrize(
    "message",
    [
        request("sum", X, sequence_id=1),
        request("sum", X[None], sequence_id="a", headrace_tenant="t", timeout=5),
        request("sum", X, sequence_id=1, sequence_start=True),
        request("sum", X, sequence_id=1, headrace_position=4),
        request("stateless-sum", X.reshape(3, 1, 2)),
        outputs_first(),
        with_lengths(),
    ],
)
def test_every_request_is_understood_as_if_it_were_the_first(message: pb.ModelInferRequest) -> None:
    forms = Forms(MODELS)
    for number in range(3):
        message.id = str(number)
        message.raw_input_contents[0] = (X + number).tobytes()
        assert said(forms.understand(copy(message))) == said(understand(MODELS, copy(message)))


def test_requests_of_a_form_differ_in_their_cells_alone() -> None:
    forms = Forms(MODELS)
    for id, x in (("a", X), ("b", X + 1), ("c", X[:1])):
        message = request("sum", x, sequence_id=1)
        message.id = id
        forms.understand(message)
    assert repr(forms) == "Forms(2)"  # one for each shape


def test_a_mask_in_cells_is_read_each_time() -> None:
    forms, asked = Forms(MODELS), []
    for mask in ([[1, 1], [1, 0]], [[1, 0], [1, 1]]):
        message = request(STATELESS_SUM.name, np.zeros((2, 2, 2), np.float32))
        add_input(message, "attention_mask", np.array(mask))
        asked.append(forms.understand(message).packed.lengths.tolist())
    assert asked == [[2, 1], [1, 2]]


def test_lengths_in_cells_are_read_each_time() -> None:
    forms, first, second = Forms(MODELS), with_lengths(), with_lengths()
    second.raw_input_contents[1] = np.array([2, 1]).tobytes()
    assert [forms.understand(m).packed.lengths.tolist() for m in (first, second)] == [[1, 2], [2, 1]]


def test_cells_that_a_known_head_does_not_fit_are_refused() -> None:
    forms = Forms(MODELS)
    forms.understand(request("sum", X, sequence_id=1))
    cut = request("sum", X, sequence_id=1)
    cut.raw_input_contents[0] = X[:2].tobytes()
    with pytest.raises(InvalidInput, match="input x holds 4 numbers"):
        forms.understand(cut)


def test_rows_without_state_go_to_each_lane_in_turn() -> None:
    forms = Forms(MODELS)
    lanes = [forms.understand(request("stateless-sum", X)).lane for _ in range(4)]
    assert lanes[0] is not lanes[1]
    assert lanes[:2] == lanes[2:]


def test_where_a_sequence_may_live_on_an_older_version_each_request_is_asked() -> None:
    clock = Clock()
    forms = Forms(Models([served(SUM, sum_lane(clock), version=version) for version in "12"]))
    for version, known in (("", 0), ("1", 1)):
        message = request("sum", X, sequence_id=1)
        message.model_version = version
        forms.understand(message)
        assert repr(forms) == f"Forms({known})"


def test_what_is_remembered_is_bounded() -> None:
    forms = Forms(MODELS)
    for number in range(MOST_FORMS + 1):
        forms.understand(request("sum", X[:1], sequence_id=number + 1))
    assert repr(forms) == "Forms(1)"
    forms.understand(request("sum", X[:1], sequence_id=1, note="x" * LONGEST_FORM))
    assert repr(forms) == "Forms(1)"
    forms.understand(request("stateless-sum", np.zeros((MOST_ROWS + 1, 1, 2), np.float32)))
    assert repr(forms) == "Forms(1)"


def test_the_cells_of_a_request_are_not_remembered() -> None:
    forms, x = Forms(MODELS), np.zeros((10_000, 2), np.float32)
    tracemalloc.start()
    for number in range(1, 101):
        forms.understand(request("sum", x, sequence_id=number))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert repr(forms) == "Forms(100)"
    assert held < 10 * x.nbytes
