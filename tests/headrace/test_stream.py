from __future__ import annotations

import asyncio
from io import BytesIO, StringIO, TextIOWrapper
from typing import TextIO

import pytest

from headrace.client import Client
from headrace.errors import InvalidInput, UnknownModel
from headrace.stream import stream

from .client.fake import FakeServer


def streamed(model: str, text: str | TextIO) -> list[str]:
    async def main() -> str:
        out = StringIO()
        async with FakeServer() as server, Client(server.address) as client:
            await stream(model, StringIO(text) if isinstance(text, str) else text, client, out)
            assert not server.live  # the sequence is closed at the end
        return out.getvalue()

    return asyncio.run(main()).splitlines()


def test_each_line_is_a_step_and_a_blank_line_begins_anew() -> None:
    assert streamed("sum", "1,2\n3,4\n\n\n5, 6\n") == ["1,2", "4,6", "5,6"]


def test_without_a_state_a_sequence_is_one_row_with_its_label() -> None:
    assert streamed("mean", "\n9,1\n7,3\n\n0,0.5\n") == ["left", "right"]


def test_rows_go_to_the_version_whose_labels_are_read() -> None:
    async def main() -> list[str]:
        async with FakeServer() as server, Client(server.address) as client:
            server.versions = ["1", "2"]
            await client.models()
            await stream("mean", StringIO("9,1\n"), client, StringIO())
            return [told.version for frame in server.frames for told in frame.opens]

    assert asyncio.run(main()) == ["2"]


def test_text_tells_the_likeliest_next_character() -> None:
    lines = streamed("letters", "ab\na")  # in chunks of two
    assert lines == ["'a'\t'b'\t1.000", "'b'\t'\\n'\t1.000", "'\\n'\t'a'\t1.000", "'a'\t'b'\t1.000"]


def test_empty_input() -> None:
    assert streamed("sum", "") == []


@pytest.mark.parametrize(
    ("model", "text", "says"),
    [
        ("sum", "1,2,3\n", "a line needs 2 numbers"),
        ("sum", "1,x\n", "a line needs 2 numbers"),
        ("tokens", "99999999999999999999\n", "a line needs 1 numbers"),
        ("letters", "abc\n", r"does not know the characters \['c'\]"),
        ("pair", "1,2\n", "several inputs"),
    ],
)
def test_lines_that_the_model_cannot_take(model: str, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        streamed(model, text)


def test_more_lines_than_are_read_ahead() -> None:
    assert streamed("sum", "1,0\n" * 200)[-1] == "200,0"


def test_input_that_is_no_text() -> None:
    with pytest.raises(InvalidInput, match="cannot be read: 'utf-8'"):
        streamed("sum", TextIOWrapper(BytesIO(b"\xff\xfe\n"), "utf-8"))


def test_unknown_model() -> None:
    with pytest.raises(UnknownModel):
        streamed("nothing", "")
