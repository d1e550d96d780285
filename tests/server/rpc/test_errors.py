"""One table from errors to the wire, and it is complete."""

from __future__ import annotations

from headrace.errors import ConfigurationError, HeadraceError, InvalidInput, Overloaded, WrongPosition
from headrace.protos import sequences_pb2 as pb
from headrace.server.rpc.errors import WIRE, error_code, status, trailing_metadata


def test_every_error_is_in_the_table() -> None:
    assert set(WIRE) == every(HeadraceError)


def test_every_error_of_a_row_has_a_code_of_its_own() -> None:
    codes = [WIRE[error].code for error in every(HeadraceError) - {ConfigurationError}]
    assert sorted(codes) == sorted(set(pb.ErrorCode.values()) - {pb.UNSPECIFIED})


def test_no_error_passes_for_success() -> None:
    assert all(status(error("")).name not in ("OK", "UNKNOWN") for error in WIRE)


def test_codes_bear_the_names_of_the_classes() -> None:
    for error in every(HeadraceError) - {ConfigurationError}:
        assert pb.ErrorCode.Name(error_code(error(""))).replace("_", "").lower() == error.__name__.lower()


def test_metadata_says_what_is_known() -> None:
    assert trailing_metadata(InvalidInput("")) == ()
    assert trailing_metadata(WrongPosition("", expected_position=0)) == (("headrace-expected-position", "0"),)
    assert trailing_metadata(Overloaded("", retry_after=0.05)) == (("grpc-retry-pushback-ms", "50"),)


def every(error: type[HeadraceError]) -> set[type[HeadraceError]]:
    """All classes below `error`."""
    return {error_below for child in error.__subclasses__() for error_below in (child, *every(child))}
