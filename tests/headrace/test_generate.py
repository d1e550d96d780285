"""What `headrace generate` prints, of texts that a script says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from io import StringIO
from typing import Any

import pytest

from headrace.client import Client, Writing
from headrace.errors import HeadraceError
from headrace.generate import generate
from headrace.protos import sequences_pb2 as pb

from .client.fake import FakeServer
from .client.told import Cell, reply


class Paper(StringIO):
    """Remembers what was there at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue())


async def backwards(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    """Each text is `x`, its prompt and copy, a line break, `y`; the last one ends first."""
    places = [(prompt, copy) for prompt in range(len(asked.prompts)) for copy in range(asked.copies)]
    for text, ending in (("x{}{}", pb.NOT_ENDED), ("\ny", pb.MOST)):
        for prompt, copy in reversed(places):
            told = text.format(prompt, copy)
            yield reply(Cell(prompt, copy, told, [prompt, copy], ending))


async def second_fails(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    failed = pb.Error(code=pb.MODEL_FAILED, message="not finite")
    yield reply(Cell(1, error=failed), Cell(0, text="a", ending=pb.END))


async def fails(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    yield reply(Cell(error=pb.Error(code=pb.MODEL_FAILED, message="not finite")))


def printed(prompts: list[str], how: Writing, script: Any = backwards, model: str = "letters") -> tuple[Paper, Paper]:
    async def main() -> tuple[Paper, Paper]:
        out, errors = Paper(), Paper()
        async with FakeServer() as server, Client(server.address) as client:
            server.writing = script
            with pytest.raises(HeadraceError) if script in (second_fails, fails) else nullcontext():
                await generate(client, model, prompts, how, out, errors)
        return out, errors

    return asyncio.run(main())


def test_one_text_is_printed_as_it_comes_behind_its_prompt() -> None:
    out, _ = printed(["ab"], {})
    assert out.flushed == ["abx00", "abx00\ny"] and out.getvalue() == "abx00\ny\n"


def test_several_are_printed_line_by_line_in_order() -> None:
    out, _ = printed(["a", "b"], {"copies": 2})
    assert out.getvalue().splitlines() == ["ax00\\ny", "ax01\\ny", "bx10\\ny", "bx11\\ny"]
    assert set(out.flushed) == {"", out.getvalue()}


def test_a_text_has_an_end_though_its_model_knows_none() -> None:
    asked: list[int] = []

    async def script(request: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
        asked.append(request.most)
        async for told in backwards(request):
            yield told

    printed(["a"], {}, script)
    printed(["a"], {"max_tokens": 7}, script)
    printed([""], {"source": "a"}, script, model="translator")
    assert asked == [1000, 7, 0]


def test_sources_have_a_line_each() -> None:
    out, _ = printed([""], {"source": ["a", "b", "a"]}, model="translator")
    assert out.getvalue().splitlines() == [" 0 0 0 0", " 1 0 1 0", " 2 0 2 0"]  # that model has no symbols


def test_a_model_without_symbols_gives_its_tokens() -> None:
    out, _ = printed([""], {}, model="tokens")
    assert out.getvalue() == " 0 0 0 0\n"


def test_a_failed_text_is_told_and_leaves_the_others() -> None:
    out, errors = printed(["a", "b", "c"], {}, second_fails)
    assert (out.getvalue(), errors.getvalue()) == ("aa\nb\n", "text 2: not finite\n")


def test_the_only_text_fails_with_its_error() -> None:
    out, errors = printed(["a"], {}, fails)
    assert (out.getvalue(), errors.getvalue()) == ("", "")
