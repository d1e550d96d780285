"""A request for texts, a prompt of it that is read once, and one text that grows."""

from __future__ import annotations

from dataclasses import dataclass

from ..commands import Generate, Prompt
from ..steps import Array, Rows, Sink
from .philox import seed_of
from .stops import Tail, Told


@dataclass(slots=True, eq=False)
class Reading:
    """A prompt on the way to its texts: waiting, being read, or read while copies of it wait for rows.

    tokens [time]: all that is read; first: key of the first copy, for the caller. Mutable: `row`, where its sequence
    is; `done`, so many tokens are sent; `started` copies have a row; `forked`, those of them that are texts;
    `logits` [vocabulary] of the first token of each text, once the prompt is read.
    """

    command: Generate
    prompt: Prompt
    tokens: Rows
    first: int
    row: int | None = None
    done: int = 0
    started: int = 0
    forked: int = 0
    logits: Array | None = None

    @property
    def waiting(self) -> int:
        """Copies that have no row yet."""
        return self.command.copies - self.started

    @property
    def left(self) -> int:
        """Copies that are no texts yet: all but those that were forked."""
        return self.command.copies - self.forked

    @property
    def ahead(self) -> int:
        """Rows that belong to copies, but are not theirs before the prompt is read; one is the prompt's own."""
        return 0 if self.logits is not None or self.row is None else self.started - 1

    def keys(self) -> range:
        """The caller's keys of the copies that are no texts yet."""
        return range(self.first + self.forked, self.first + self.command.copies)

    def due(self) -> int:
        """So many copies can be forked now: all that have rows, but the last, which goes on in the prompt's own."""
        return min(self.started, self.command.copies - 1) - self.forked

    def text(self) -> Text:
        """The next of its texts; the prompt is read."""
        assert self.logits is not None, "a text goes on from a prompt that was read"
        command, copy = self.command, self.forked
        self.forked += 1
        seed = seed_of(command.sampling.seed, self.prompt.number, copy)
        tail = Tail(command.stop) if command.stop else None
        return Text(command, self.first + copy, seed, self.logits, tail, goes_on=len(self.prompt.tokens) > 0)


@dataclass(slots=True, eq=False)
class Text:
    """One text. key: the caller's; seed: of its own draws; logits [vocabulary] of its first token; tail: of one with
    stop strings. Mutable: `goes_on`, whether symbols stand before the next one, its prompt's among them."""

    command: Generate
    key: int
    seed: int
    logits: Array
    tail: Tail | None
    goes_on: bool

    @property
    def sink(self) -> Sink:
        return self.command.sink

    def add(self, token: int, symbol: str) -> Told:
        """What is decided with this token; symbol: what it adds to the text, with a separator before it if need be."""
        self.goes_on = True
        return self.tail.add(token, symbol) if self.tail is not None else Told((token,), symbol)

    def rest(self) -> Told:
        """What was held back; for a text that ends otherwise than by a stop string."""
        return self.tail.rest() if self.tail is not None else Told((), "")
