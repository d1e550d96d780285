"""Several tokens in one turn: the same texts as token by token, and nobody waits for them longer than for one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ModelFailed, Overloaded
from headrace.server.batch import Batch, Outcome
from headrace.server.commands import Barrier, Close, Command, Generate, Leave, Mode, Open, Prompt, Sampling, Step
from headrace.server.expiry import EXPIRY_INTERVAL
from headrace.server.journal import Journal, NoJournal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.metrics import LaneMeter
from headrace.server.onward import PORTION, ROOM
from headrace.server.steps import Answers, Array, Closed, Ending, Opened, Rows
from headrace.spec import Cache, Input, ModelSpec, Parity, Start

from .fakes import Clock, FlakyJournal, Heard, SumEngine, admit, steps
from .writing.script import COUNT, ENDING_WRITER, WRITER, heard, logits_of
from .writing.script import Heard as Told

LONGEST = 40
PLAIN, ENDING = (
    spec.model_copy(
        update={
            "states": (),
            "caches": (Cache(name="c", heads=1, width=1),),
            "longest": LONGEST,
            "parity": Parity(error=0.0, cases=1),
        }
    )
    for spec in (WRITER, ENDING_WRITER)
)
STARTED = PLAIN.model_copy(update={"start": Start(inputs=(Input(name="source", dtype="int64"),), longest=1)})
CELL = 8
LIMITS = Limits(rows=4, tokens=64, sequences=8, idle=600.0, part=4, few=0)


@dataclass
class Script(SumEngine):
    """Writes by `logits_of`, each call in a CPU second. walks: rows of each further call; before: called ahead of each;
    fails: the one to give up, by an exception if it `raises`; spoils: behind which tokens the logits are not finite.

    tokens: of each sequence, as far as the engine was told; what is not committed may be told again.
    """

    tokens: dict[int, list[int]] = field(default_factory=dict)
    walks: list[int] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    fails: int | None = None
    raises: bool = False
    further: bool = True
    room: int = 10 * ROOM
    spoils: Callable[[list[int]], bool] = lambda known: False
    last: Rows = field(default_factory=lambda: np.zeros(0, np.int64))

    def run(self, batch: Batch) -> Outcome:
        self.batches.append(batch)
        assert batch.grown is not None
        self.last = batch.grown.numbers
        cells, ends = [], np.cumsum(batch.lengths)
        for number, past, tokens in zip(*batch.grown, np.split(batch.values[0], ends[:-1]), strict=True):
            known = self.tokens.get(int(number), [])[:past]
            assert len(known) == past, "a sequence goes on from what was run"
            cells += [self.add(int(number), known, token) for token in tokens.tolist()]
        outputs = batch.outputs((np.zeros(len(batch), np.float32), np.stack(cells)), (False, True))
        return Outcome(outputs, batch.lengths > 0, compute_cpu=1.0)

    def fail(self) -> None:
        if self.raises:
            raise RuntimeError("refused (scripted)")

    def add(self, number: int, known: list[int], token: int) -> np.ndarray:
        known.append(token)
        self.tokens[number] = known
        return logits_of(known) * (np.nan if self.spoils(known) else 1)

    def walk(self, write: Rows, spare: Rows) -> Walk | None:
        return Walk(self, write) if self.further else None


@dataclass
class Walk:
    engine: Script
    slots: Rows
    compute_cpu: float = 0.0

    @property
    def room(self) -> int:
        return self.engine.room

    def on(self, tokens: Rows) -> tuple[Array, ...] | None:
        engine = self.engine
        engine.before()
        engine.walks.append(len(tokens))
        self.compute_cpu += 1
        if engine.fails == len(engine.walks):
            return engine.fail()
        pairs = zip(engine.last.tolist(), tokens.tolist(), strict=True)
        cells = [engine.add(number, engine.tokens[number], token) for number, token in pairs]
        return np.zeros(len(cells), np.float32), np.stack(cells)

    def end(self) -> None: ...


@dataclass
class Bench:
    spec: ModelSpec = PLAIN
    limits: Limits = LIMITS
    journal: Journal = field(default_factory=NoJournal)
    engine: Script = field(default_factory=lambda: Script(LIMITS.slots))
    told: Answers = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.meter = LaneMeter((self.spec.name, "1", "0"))
        args = self.engine, self.journal, self.meter, self.limits, self.told.extend, self.clock
        self.lane = Lane(self.spec, "1", *args)

    def ask(self, *commands: Command) -> None:
        admit(self.lane, *commands)

    def finish(self) -> int:
        """How many turns it took."""
        for turn in range(1000):
            if not self.lane.state.busy:
                return turn
            self.lane.tick()
            self.lane.admit(wait=False)
        raise AssertionError("it goes on for ever")

    def write(self, *commands: Generate) -> list[dict[int, Told]]:
        self.ask(*commands)
        self.finish()
        state = self.lane.state
        assert not len(state.sequences) and state.budget.total == 0 and len(state.slots) == self.limits.slots
        return [heard(self.told, command.sink) for command in commands]


def asked(*prompts: list[int], most: int = 20, stop: tuple[str, ...] = (), **sampling: float) -> Generate:
    given = tuple(Prompt(np.array(prompt, np.int64), number=number) for number, prompt in enumerate(prompts))
    return Generate(Heard(), given, 1, Sampling(**sampling), most, stop, np.inf, 100.0)  # type: ignore[arg-type]


PROMPTS = st.lists(st.integers(0, COUNT - 2), min_size=1, max_size=6)
ASKED = st.builds(
    lambda prompts, most, stop, temperature, penalty, seed: asked(
        *prompts, most=most, stop=stop, temperature=temperature, repetition_penalty=penalty, seed=seed
    ),
    st.lists(PROMPTS, min_size=1, max_size=3),
    st.integers(1, LONGEST),
    st.sampled_from([(), ("b c",), ("aa", ".b")]),
    st.sampled_from([0.0, 0.0, 1.5]),
    st.sampled_from([1.0, 1.4]),
    st.integers(0, 99),
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([PLAIN, ENDING]),
    st.lists(ASKED, min_size=1, max_size=3),
    st.none() | st.integers(1, 9),
    st.booleans(),
    st.sampled_from([0.0, PORTION / 2]),
)
def test_texts_are_those_that_are_written_token_by_token(
    spec: ModelSpec, commands: list[Generate], fails: int | None, raises: bool, seconds: float
) -> None:
    """Also where a walk comes to nothing in the midst, and where it is told by portions."""
    onward, slow = Bench(spec), Bench(spec)
    onward.engine.fails, onward.engine.raises, slow.engine.further = fails, raises, False
    onward.engine.before = lambda: setattr(onward.clock, "now", onward.clock.now + seconds)
    assert onward.write(*commands) == slow.write(*commands)


def test_a_turn_writes_as_long_as_nobody_else_asks_and_tells_once() -> None:
    bench, command = Bench(), asked([1, 2], [3], most=20)
    bench.write(command)
    assert len(bench.engine.walks) > 15 and len([told for told in bench.told if told[0] is command.sink]) <= 4
    rows = bench.meter.histograms["batch_rows"].buckets()[-1][1]
    calls = len(bench.engine.batches) + len(bench.engine.walks)
    assert rows == calls == bench.meter.counters["compute_cpu_seconds"]
    assert bench.meter.counters["tokens"] == 3 + 2 * 19 and bench.meter.counters["written_tokens"] == 40


def test_no_text_is_longer_than_the_model_takes() -> None:
    bench, command = Bench(), asked([1, 2, 3], [1], most=100)
    (texts,) = bench.write(command)
    assert [len(texts[key].tokens) for key in (0, 1)] == [LONGEST - 2, LONGEST]
    assert {text.ending for text in texts.values()} == {Ending.FULL}


def begun(**limits: int) -> tuple[Bench, Generate]:
    """A text of which the first token was told; the next turn may walk."""
    bench, command = Bench(limits=replace(LIMITS, **limits)), asked([1], most=30)
    bench.ask(command)
    bench.lane.tick()
    assert not bench.engine.walks and bench.lane.state.busy
    return bench, command


def after(calls: int, bench: Bench, act: Callable[[], None]) -> None:
    """Something happens while the engine is called for the so many-th time in a walk."""

    def before() -> None:
        if len(bench.engine.walks) == calls - 1:
            act()

    bench.engine.before = before


def test_a_walk_is_called_no_more_often_than_it_has_room() -> None:
    bench, _ = begun()
    bench.engine.room = 3
    bench.lane.tick()
    assert len(bench.engine.walks) == 3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_end_their_own_text_alone(temperature: float) -> None:
    onward, slow = Bench(), Bench()
    slow.engine.further = False
    for bench in (onward, slow):
        bench.engine.spoils = lambda known: known[0] == 1 and len(known) == 6
    command = asked([1], [2], most=20, temperature=temperature)
    (found,), (want,) = onward.write(command), slow.write(command)
    assert onward.engine.walks[:4] == [2] * 4 and len(found[0].tokens) == 5
    assert [type(text.error) for text in found.values()] == [ModelFailed, type(None)]
    assert (found[0].tokens, found[0].text, found[1]) == (want[0].tokens, want[0].text, want[1])


def test_whatever_is_posted_is_heard_after_the_call_that_runs() -> None:
    bench, _ = begun()
    passed: list[int] = []
    after(3, bench, lambda: bench.lane.post(Barrier(lambda: passed.append(len(bench.engine.walks)))))
    bench.lane.tick()
    bench.lane.admit(wait=False)
    assert passed == [3]


def test_a_caller_that_leaves_is_told_nothing_more() -> None:
    bench, command = begun()
    after(3, bench, lambda: bench.lane.post(Leave(command.sink)))
    bench.lane.tick()
    before = len(bench.told)
    bench.lane.admit(wait=False)
    bench.finish()
    assert len(bench.told) == before and not len(bench.lane.state.sequences)


def test_a_turn_goes_on_while_it_tells_by_portions() -> None:
    bench, command = begun()
    told: list[int] = []

    def before() -> None:
        bench.clock.now += PORTION / 4
        told.append(len(heard(bench.told, command.sink)[0].tokens))

    bench.engine.before = before
    bench.lane.tick()
    assert len(bench.engine.walks) == 28 and told[:10] == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9]


def test_nothing_is_told_that_the_journal_has_not_taken() -> None:
    journal = FlakyJournal()
    bench, command = Bench(journal=journal), asked([1], most=30)
    bench.ask(command)
    bench.lane.tick()
    bench.engine.before = lambda: setattr(bench.clock, "now", bench.clock.now + PORTION / 4)
    bench.lane.tick()
    (text,) = heard(bench.told, command.sink).values()
    assert len(bench.engine.walks) == 4
    assert len(text.tokens) == sum(int(record.lengths.sum()) for record in journal.records)  # the prompt has one


def test_nobody_waits_for_the_next_look_for_idle_sequences() -> None:
    bench, _ = begun()
    after(4, bench, lambda: setattr(bench.clock, "now", bench.clock.now + EXPIRY_INTERVAL))
    bench.lane.tick()
    assert len(bench.engine.walks) == 4


def test_cells_are_asked_for_as_the_texts_grow() -> None:
    """There are cells for some more tokens of one text, but not for as many as it may have."""
    long = PLAIN.model_copy(update={"longest": 3 * ROOM})
    bench, command = Bench(long, replace(LIMITS, cache_bytes=CELL * 2 * ROOM)), asked([1], most=3 * ROOM)
    bench.ask(command)
    bench.finish()
    (text,) = heard(bench.told, command.sink).values()
    assert len(bench.engine.walks) == ROOM and len(text.tokens) == 2 * ROOM
    assert isinstance(text.error, Overloaded)


def test_a_text_whose_time_is_over_ends_within_one_call() -> None:
    bench, command = Bench(), replace(asked([1], most=30), deadline=100.001)
    bench.ask(command)
    bench.lane.tick()
    after(2, bench, lambda: setattr(bench.clock, "now", 100.002))
    bench.finish()
    (text,) = heard(bench.told, command.sink).values()
    assert len(bench.engine.walks) == 2 and text.ending is Ending.LATE and len(text.tokens) >= 3


def test_what_waits_runs_beside_texts_and_not_behind_them() -> None:
    bench, _ = begun()
    other = Heard()
    one = replace(steps(other, [(1, 0, [1.0])], acked=[0]), values=(np.ones(1, np.int64),))
    bench.ask(Open(other, 1, ("", "a"), Mode.FRESH, 5), Step(one))
    bench.lane.tick()
    assert not bench.engine.walks and len(bench.engine.batches[-1]) == 2
    assert isinstance(next(told for sink, told in bench.told if sink is other), Opened)


def test_what_finds_no_place_beside_texts_does_not_wait_until_they_end() -> None:
    bench, _ = begun(rows=1)
    other = Heard()
    one = replace(steps(other, [(1, 0, [1.0])], acked=[0]), values=(np.ones(1, np.int64),))
    bench.ask(Open(other, 1, ("", "a"), Mode.FRESH, 5), Step(one))
    bench.lane.tick()
    assert bench.lane.state.scheduler and not bench.engine.walks


def test_texts_go_on_when_all_sources_are_read_and_what_came_of_it_is_told() -> None:
    bench, other, source = Bench(STARTED, replace(LIMITS, rows=1)), Heard(), (np.ones(1, np.int64),)
    bench.ask(replace(asked([1], most=30), prompts=(Prompt(np.array([1]), source),)))
    bench.lane.tick()
    bench.ask(*(Open(other, key, ("", str(key)), Mode.FRESH, 5, source) for key in (1, 2)), Close(other, (2,)))
    bench.lane.tick()
    assert bench.lane.state.starts and not bench.engine.walks
    bench.lane.tick()
    assert bench.told[-2] == (other, Closed((2,))) and not bench.engine.walks
    bench.lane.tick()
    assert bench.engine.walks


def test_cells_are_counted_as_they_are_used() -> None:
    bench, _ = begun()
    after(6, bench, lambda: bench.lane.post(Leave(Heard())))
    bench.lane.tick()
    state, numbers = bench.lane.state, np.array(list(bench.lane.state.sequences.names.values()))
    run, waiting = 1 + 1 + 6, 1  # the prompt and the tick that walked; and the token that is sent now
    assert state.sequences.position[numbers].tolist() == [run]
    assert state.sequences.expected[numbers].tolist() == [run + waiting] == [state.budget.total // CELL]


def test_without_cells_for_many_tokens_it_goes_on_by_one() -> None:
    bench, _ = begun(cache_bytes=CELL * 12)
    bench.lane.tick()
    assert not bench.engine.walks and bench.lane.state.budget.total == 3 * CELL


def test_what_the_journal_does_not_take_is_not_told_and_not_applied() -> None:
    journal = FlakyJournal()
    bench, command = Bench(journal=journal), asked([1], most=30)
    bench.ask(command)
    bench.lane.tick()
    told, journal.failures = len(bench.told), 1
    bench.lane.tick()
    assert len(bench.engine.walks) > 9
    (text,) = heard(bench.told, command.sink).values()
    assert len(bench.told) == told + 1 and len(text.tokens) == 1 and text.error is not None
    bench.finish()
    assert not len(bench.lane.state.sequences) and bench.lane.state.budget.total == 0


def test_a_record_has_all_tokens_of_a_walk() -> None:
    journal = FlakyJournal()
    bench, command = Bench(journal=journal), asked([1, 2], most=20)
    (text,) = bench.write(command)[0].values()
    logged = [token for record in journal.records for token in record.values[0].tolist()]
    assert logged == [1, 2, *text.tokens[:-1]] and len(journal.records) < 6
    assert [r.positions[0] for r in journal.records] == [0, *np.cumsum([r.lengths[0] for r in journal.records])[:-1]]


class Carried(Script):
    """The same with states that are carried: each slot holds its sequence's tokens."""

    def __post_init__(self) -> None:
        self.held: dict[int, list[int]] = {}

    def run(self, batch: Batch) -> Outcome:
        self.batches.append(batch)
        ends, cells = np.cumsum(batch.lengths), []
        columns = batch.read.tolist(), batch.write.tolist(), batch.fresh.tolist()
        for read, write, fresh, tokens in zip(*columns, np.split(batch.values[0], ends[:-1]), strict=True):
            cells += self.follow([] if fresh else self.held[read], write, tokens.tolist())
        outputs = batch.outputs((np.zeros(len(batch), np.float32), np.stack(cells)), (False, True))
        return Outcome(outputs, batch.lengths > 0)

    def follow(self, known: list[int], write: int, tokens: list[int]) -> list[np.ndarray]:
        self.held[write] = [*known, *tokens]
        return [logits_of([*known, *tokens[: count + 1]]) for count in range(len(tokens))]

    def walk(self, write: Rows, spare: Rows) -> Walk | None:
        return CarriedWalk(self, write, spare=spare) if self.further and len(spare) else None


@dataclass
class CarriedWalk(Walk):
    spare: Rows = field(default_factory=lambda: np.zeros(0, np.int64))

    def on(self, tokens: Rows) -> tuple[Array, ...] | None:
        engine = self.engine
        assert isinstance(engine, Carried)
        engine.walks.append(len(tokens))
        if engine.fails == len(engine.walks):
            return engine.fail()
        triples = zip(self.slots.tolist(), self.spare.tolist(), tokens.tolist(), strict=True)
        cells = [engine.follow(engine.held[here], there, [token])[0] for here, there, token in triples]
        self.slots, self.spare = self.spare, self.slots
        return np.zeros(len(cells), np.float32), np.stack(cells)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([WRITER, ENDING_WRITER]), st.lists(ASKED, min_size=1, max_size=2), st.none() | st.integers(1, 9))
def test_states_that_are_carried_go_on_too(spec: ModelSpec, commands: list[Generate], fails: int | None) -> None:
    onward, slow = (Bench(spec, engine=Carried(LIMITS.slots)) for _ in range(2))
    onward.engine.fails, slow.engine.further = fails, False
    assert onward.write(*commands) == slow.write(*commands)


def test_there_are_slots_to_go_on_with_when_all_sequences_are_live() -> None:
    bench = Bench(WRITER, replace(LIMITS, sequences=4), engine=Carried(LIMITS.slots))
    (texts,) = bench.write(asked([1], [2], [3], [4], most=6))
    assert bench.engine.walks and [len(text.tokens) for text in texts.values()] == [6] * 4
