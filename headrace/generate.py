"""`headrace generate`: texts that a model writes, printed as they come."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TextIO

from headrace.client import Client, Piece, Writing

from .errors import HeadraceError

#: Tokens of a text, of a model whose sequences may be of any length, where nothing is said of it.
MOST = 1000


async def generate(
    client: Client, model: str, prompts: Sequence[str], how: Writing, out: TextIO, errors: TextIO
) -> None:
    """At least one prompt, which may be empty. One text is printed as it comes, behind its prompt; several, with all
    their copies, a line each in their order.

    Raises what the client raises; of several texts that failed `errors` tells why, and in the end it raises, too.
    """
    spec = (await client.find(model)).spec
    if how.get("max_tokens") is None and spec.longest is None:
        how = {**how, "max_tokens": MOST}
    printer = _printer(prompts, how, spec.text is None, out, errors)
    async with aclosing(client.generate(model, list(prompts), **how)) as coming:
        async for piece in coming:
            printer.add(piece)
    printer.end()


def _printer(prompts: Sequence[str], how: Writing, plain: bool, out: TextIO, errors: TextIO) -> Printer:
    """plain: the model has no symbols, so its tokens are printed."""
    sources, copies = how.get("source"), how.get("copies", 1)
    count = max(len(prompts), len(sources) if isinstance(sources, list) else 1)
    if count * copies == 1:
        return Running(prompts[0], plain, out)
    begin = [prompts[n // copies % len(prompts)] for n in range(count * copies)]
    return Lines(begin, copies, plain, out, errors)


class Running:
    """One text, printed as it grows. Mutable: `_prompt`, until it is printed."""

    def __init__(self, prompt: str, plain: bool, out: TextIO) -> None:
        self._prompt, self._plain, self._out = prompt, plain, out

    def add(self, piece: Piece) -> None:
        self._out.write(self._prompt + _words(piece, self._plain))
        self._out.flush()
        self._prompt = ""

    def end(self) -> None:
        self._out.write("\n")


class Lines:
    """Several texts, each printed when it and all before it have ended; line breaks inside are written as `\\n`.

    Mutable: `_texts`, what came of each; `_ended`; and `_printed`, how many are.
    """

    def __init__(self, prompts: Sequence[str], copies: int, plain: bool, out: TextIO, errors: TextIO) -> None:
        self._texts, self._copies, self._plain = list(prompts), copies, plain
        self._out, self._errors = out, errors
        self._ended: set[int] = set()
        self._printed = self._failed = 0

    def add(self, piece: Piece) -> None:
        text = piece.prompt * self._copies + piece.copy
        self._texts[text] += _words(piece, self._plain)
        if piece.error is not None:
            self._failed += 1
            self._errors.write(f"text {text + 1}: {piece.error}\n")
        if piece.error is not None or piece.ending is not None:
            self._ended.add(text)
            self._print()

    def end(self) -> None:
        """Raises HeadraceError if some failed."""
        if self._failed:
            raise HeadraceError(f"{self._failed} of {len(self._texts)} texts failed")

    def _print(self) -> None:
        while self._printed in self._ended:
            self._out.write(self._texts[self._printed].replace("\n", "\\n") + "\n")
            self._printed += 1
        self._out.flush()


Printer = Running | Lines


def _words(piece: Piece, plain: bool) -> str:
    """The text; of a model without symbols its tokens."""
    return "".join(f" {token}" for token in piece.tokens) if plain else piece.text
