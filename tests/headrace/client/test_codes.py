import grpc

from headrace import errors
from headrace.client.codes import EXCEPTIONS, again, from_status, from_wire
from headrace.protos import sequences_pb2 as pb


def test_every_code_and_every_error_is_in_the_table() -> None:
    tree = {errors.HeadraceError, *errors.HeadraceError.__subclasses__()}
    assert set(EXCEPTIONS) == set(pb.ErrorCode.values())
    assert set(EXCEPTIONS.values()) == tree - {errors.ConfigurationError}  # that one never crosses the wire
    assert len(set(EXCEPTIONS.values())) == len(EXCEPTIONS)


def test_all_that_the_wire_says_arrives() -> None:
    told = pb.Error(key=1, code=pb.OVERLOADED, message="full", expected_position=0, retry_after_ms=250)
    error = from_wire(told)
    assert (type(error), str(error)) == (errors.Overloaded, "full")
    assert (error.expected_position, error.retry_after) == (0, 0.25)


def test_what_the_wire_does_not_say_is_unknown() -> None:
    error = from_wire(pb.Error(code=pb.MODEL_FAILED))
    assert (error.expected_position, error.retry_after, str(error)) == (None, None, "MODEL_FAILED")


def test_each_caller_gets_an_error_of_its_own() -> None:
    error = errors.WrongPosition("there", expected_position=3)
    copy = again(error)
    assert copy is not error
    assert (type(copy), str(copy), copy.expected_position) == (errors.WrongPosition, "there", 3)


def test_a_call_that_ends_has_an_error_too() -> None:
    full = from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", [("x", "1"), ("grpc-retry-pushback-ms", "250")])
    assert (type(full), str(full), full.retry_after) == (errors.Overloaded, "full", 0.25)
    odd = from_status(grpc.StatusCode.DATA_LOSS, None, None)
    assert (type(odd), str(odd), odd.retry_after) == (errors.HeadraceError, "DATA_LOSS", None)
