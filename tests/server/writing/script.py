"""A lane by script, at the seam of its writers: it knows the tokens of each sequence, and answers by a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np

from headrace.errors import Cancelled, HeadraceError, UnknownSequence
from headrace.server.commands import Cancel, Close, Fork, Generate, Open, Request, Step
from headrace.server.sequences import Name
from headrace.server.steps import NEVER_AGAIN, Answer, Answers, Closed, Ending, Failed, Opened, Rows, Stepped, Wrote
from headrace.server.writing.writers import Writers
from headrace.spec import Chunk, Generation, Input, ModelSpec, Output, State, Text

SYMBOLS = ("a", "b", "ab", "c", "ca", "", "b c", ".")
COUNT = len(SYMBOLS)

#: Writes single tokens behind a prompt of any; in steps of up to 4 tokens, so that longer prompts come in parts.
WRITER = ModelSpec(
    name="writer",
    inputs=(Input(name="tokens", dtype="int64", vocabulary=COUNT),),
    outputs=(
        Output(name="length", dtype="float32", time=False),
        Output(name="logits", dtype="float32", shape=(COUNT,), time=True),
    ),
    states=(State(name="s", input="s", output="s_out", dtype="float32", shape=(1,)),),
    chunk=Chunk(longest=4),
    text=Text(symbols=SYMBOLS),
    generation=Generation(output="logits"),
)
#: The same with a token that begins and ends each text, and a separator.
ENDING_WRITER = WRITER.model_copy(
    update={
        "generation": Generation(output="logits", begin=7, end=7),
        "text": Text(symbols=SYMBOLS, separator=" "),
    }
)


def logits_of(tokens: Sequence[int]) -> np.ndarray:
    """[COUNT] float32, of the token behind `tokens`: whatever, but always the same."""
    rng = np.random.default_rng(crc32(bytes(tokens)))
    return rng.normal(0, 2, COUNT).astype(np.float32)


@dataclass
class Live:
    tokens: list[int] = field(default_factory=list)
    closing: bool = False


@dataclass
class ScriptedLane:
    """Handles the commands of its writers as a lane does; a tick answers the first `rows` steps that wait.

    broken: keys whose next step fails by this error. Mutable: all of it.
    """

    writers: Writers
    rows: int = 64
    now: float = 100.0
    names: dict[Name, int] = field(default_factory=dict)
    live: dict[int, Live] = field(default_factory=dict)
    queue: list[tuple[int, int, Rows]] = field(default_factory=list)
    told: Answers = field(default_factory=list)
    commands: list[Request] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    broken: dict[int, HeadraceError] = field(default_factory=dict)
    refuse: HeadraceError | None = None

    def begin(self, command: Generate) -> None:
        self.told += self.writers.begin(command, self.now)
        self.settle([])

    def leave(self, sink: object) -> None:
        self.settle([answer for command in self.writers.leave(sink) for answer in self.handle(command)])  # type: ignore[arg-type]

    def tick(self) -> None:
        taken, self.queue = self.queue[: self.rows], self.queue[self.rows :]
        failed = [row for row in taken if row[0] in self.broken]
        answers: list[Answer] = [Failed(key, position, self.broken.pop(key)) for key, position, _ in failed]
        if ran := [row for row in taken if row not in failed]:
            answers.append(self.run(ran))
        self.settle([*answers, *(closed for key, _, _ in taken for closed in self.close_due(key))])

    def settle(self, answers: list[Answer]) -> None:
        asked = True
        while asked:
            commands, told = self.writers.turn([(self.writers, answer) for answer in answers], self.now)
            self.told += told
            self.commands += commands
            answers = [answer for command in commands for answer in self.handle(command)]
            asked = bool(commands)

    def run(self, rows: list[tuple[int, int, Rows]]) -> Stepped:
        cells = []
        for key, position, tokens in rows:
            sequence = self.live[key].tokens
            assert position == len(sequence), "positions are exact"
            sequence += tokens.tolist()
            cells.append(logits_of(sequence))
        keys, positions = np.array([k for k, _, _ in rows], np.uint32), np.array([p for _, p, _ in rows])
        lengths = np.array([len(tokens) for _, _, tokens in rows])
        self.steps.append(len(rows))
        return Stepped(keys, positions, lengths, (np.zeros(len(rows), np.float32), np.stack(cells)))

    def handle(self, command: Request) -> list[Answer]:
        match command:
            case Open():
                return [self.open(command.key, command.name, [])]
            case Fork():
                tokens = self.live[self.names[command.name]].tokens
                opened = zip(command.keys, command.names, strict=True)
                return [self.open(key, name, list(tokens)) for key, name in opened]
            case Step():
                self.enqueue(command)
                return []
            case Cancel():
                return self.cancel(command)
            case Close():
                for key in command.keys:
                    self.live[key].closing = True
                return [closed for key in command.keys for closed in self.close_due(key)]
            case _:
                raise AssertionError(f"writers do not ask for {command}")

    def open(self, key: int, name: Name, tokens: list[int]) -> Answer:
        if self.refuse is not None:
            error, self.refuse = self.refuse, None
            return Failed(key, None, error)
        assert key not in self.live and name not in self.names, "keys and names are free when they are used"
        self.live[key], self.names[name] = Live(tokens), key
        return Opened(key, "1", len(tokens), resumed=False)

    def enqueue(self, command: Step) -> None:
        steps, at = command.steps, 0
        assert len(steps) and steps.last_only and np.isinf(steps.deadlines).all() and (steps.acked == NEVER_AGAIN).all()
        for key, position, length in zip(steps.keys.tolist(), steps.positions.tolist(), steps.lengths, strict=True):
            assert not any(other == key for other, _, _ in self.queue), "one step of a sequence at a time"
            self.queue.append((key, position, steps.values[0][at : at + length]))
            at += length

    def cancel(self, command: Cancel) -> list[Answer]:
        named = set(zip(command.keys.tolist(), command.positions.tolist(), strict=True))
        gone = [(key, position) for key, position, _ in self.queue if (key, position) in named]
        self.queue = [row for row in self.queue if row[:2] not in gone]
        return [Failed(key, position, Cancelled("scripted")) for key, position in gone]

    def close_due(self, key: int) -> list[Answer]:
        if key not in self.live or not self.live[key].closing or any(other == key for other, _, _ in self.queue):
            return []
        self.forget(key)
        return [Closed((key,))]

    def lose(self, key: int) -> None:
        """The sequence is gone, as one is that expires."""
        self.forget(key)
        self.queue = [row for row in self.queue if row[0] != key]
        self.settle([Failed(key, None, UnknownSequence("expired (scripted)"))])

    def forget(self, key: int) -> None:
        del self.live[key]
        self.names = {name: other for name, other in self.names.items() if other != key}


@dataclass
class Heard:
    """What a caller was told of one text."""

    tokens: tuple[int, ...] = ()
    text: str = ""
    ending: Ending | None = None
    error: HeadraceError | None = None

    @property
    def over(self) -> bool:
        return self.ending is not None or self.error is not None


def heard(told: Answers, sink: object) -> dict[int, Heard]:
    """The caller's texts by key. Nothing comes behind an ending, and never an empty part."""
    texts: dict[int, Heard] = {}
    for answer in (answer for other, answer in told if other is sink):
        if isinstance(answer, Failed):
            assert answer.key is not None and answer.position is None
            text = texts.setdefault(answer.key, Heard())
            assert not text.over, "a text ends once"
            text.error = answer.error
        else:
            assert isinstance(answer, Wrote)
            _add(texts, answer)
    return texts


def _add(texts: dict[int, Heard], wrote: Wrote) -> None:
    assert wrote.lengths.sum() == len(wrote.tokens) and len(set(wrote.keys.tolist())) == len(wrote.keys) > 0
    parts = np.split(wrote.tokens, np.cumsum(wrote.lengths)[:-1])
    for key, tokens, added, ending in zip(wrote.keys.tolist(), parts, wrote.texts, wrote.endings, strict=True):
        text = texts.setdefault(key, Heard())
        assert not text.over, "a text ends once"
        assert len(tokens) or added or ending is not None
        text.tokens, text.text, text.ending = (*text.tokens, *tokens.tolist()), text.text + added, ending
