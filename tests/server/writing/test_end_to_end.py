"""Texts of real models by a lane that is driven by hand: each is what the model writes alone, one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from headrace.errors import ModelFailed
from headrace.export.runners import runtime
from headrace.export.trace import to_onnx
from headrace.server.batch import Batch, Outcome
from headrace.server.caches.engine import CachedEngine
from headrace.server.commands import Close, Command, Generate, Leave, Mode, Open, Prompt, Sampling, Step
from headrace.server.engine import OnnxEngine
from headrace.server.journal import NoJournal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.metrics import LaneMeter
from headrace.server.steps import NEVER_AGAIN, STATELESS, Answers, Ending, Steps
from headrace.server.work import Engine
from headrace.server.writing.philox import seed_of
from headrace.server.writing.sampling import Settings, margins
from headrace.spec import LENGTHS, ModelSpec, Parity
from headrace.training.models import CharacterModel

from ...export import decoders
from ..fakes import Clock, admit
from ..fakes import Heard as Sink
from .reference import Written, write
from .script import Heard, heard

LIMITS = Limits(rows=6, tokens=64, sequences=40, idle=600.0, part=4, few=0)
SOURCE = np.array([0, 2, 4, 1], np.int64)

#: Two computations of the same logits differ by less than this; so near a boundary either choice is right.
NEAR = 1e-5

Logits = Callable[[tuple[int, ...]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Case:
    """A model, its engine, and the logits of the token behind some others, [vocabulary], by plain means."""

    spec: ModelSpec
    engine: Engine
    logits: Logits


@dataclass(eq=False)
class Bench:
    """A lane and whatever it answered."""

    case: Case

    def __post_init__(self) -> None:
        self.told: Answers = []
        self.clock = Clock()
        spec, meter = self.case.spec, LaneMeter((self.case.spec.name, "1", "0"))
        self.lane = Lane(spec, "1", self.case.engine, NoJournal(), meter, LIMITS, self.told.extend, self.clock)

    def post(self, *commands: Command) -> None:
        admit(self.lane, *commands)

    def finish(self) -> None:
        for _ in range(600):
            if self.lane.state.busy:
                self.lane.tick()
        assert not self.lane.state.busy


def recurrent() -> Case:
    model = decoders.strained(CharacterModel("abcdefghijk", 6, 12, layers=2))
    spec = model.describe("lm")
    graph, states = to_onnx(model, spec), {state.input: state.cells()[None] for state in spec.states}
    run = runtime(graph)

    def logits(tokens: tuple[int, ...]) -> np.ndarray:
        feed = {spec.inputs[0].name: np.array(tokens), LENGTHS: np.array([len(tokens)])}
        return run(feed | states)[spec.outputs[0].name][-1]

    return Case(spec, OnnxEngine(graph, spec, LIMITS.slots, "CPU"), logits)


def decoding() -> Case:
    spec, loop = decoders.decoder().describe("decoder"), decoders.decoder_loop()
    engine = CachedEngine(decoders.decoder_graph(), spec, LIMITS.slots, "CPU", rows=LIMITS.rows)
    return Case(spec, engine, lambda tokens: loop.open(1).step([np.array(tokens)])[-1])


def sliding() -> Case:
    spec, loop = decoders.windowed().describe("windowed"), decoders.windowed_loop()
    engine = CachedEngine(decoders.windowed_graph(), spec, LIMITS.slots, "CPU", rows=LIMITS.rows)
    return Case(spec, engine, lambda tokens: loop.open(1).step([np.array(tokens)])[-1])


def translating() -> Case:
    spec, loop = decoders.translator().describe("translator"), decoders.translator_loop()
    graph, start = decoders.translator_graph(), decoders.start_graph()
    engine = CachedEngine(graph, spec, LIMITS.slots, "CPU", rows=LIMITS.rows, start=start)
    return Case(spec, engine, lambda tokens: loop.begin([SOURCE]).step([np.array(tokens)])[-1])


@pytest.fixture(scope="module", params=[recurrent, decoding, sliding, translating])
def case(request: pytest.FixtureRequest) -> Case:
    """Its long steps may be cut; logits are computed once."""
    made: Case = request.param()
    spec = made.spec.model_copy(update={"parity": Parity(error=0.0, cases=1)})
    return Case(spec, made.engine, cache(made.logits))


def requests(spec: ModelSpec) -> list[Generate]:
    """Of callers of their own: prompts of many lengths, copies, all kinds of sampling, and stop strings."""
    rng, source = np.random.default_rng(0), (SOURCE,) if spec.start else ()
    samplings = [
        Sampling(),
        Sampling(temperature=0.7, seed=1),
        Sampling(temperature=1.2, top_k=4, seed=2),
        Sampling(temperature=1.0, top_p=0.8, repetition_penalty=1.3, seed=3),
    ]
    made = []
    for number, sampling in enumerate(samplings):
        prompts = tuple(Prompt(rng.integers(1, 4, 1 + 5 * n), source, n) for n in range(3))
        stop = ("ab", "X Y") if number % 2 else ()
        made.append(Generate(Sink(), prompts, number + 1, sampling, 14, stop, np.inf, 100.0))
    return made


def alone(case: Case, command: Generate, key: int) -> Written:
    spec, (number, copy) = case.spec, divmod(key, command.copies)
    assert spec.text is not None and spec.generation is not None
    symbols, separator = spec.text.symbols, spec.text.separator
    prompt = command.prompts[number].tokens.tolist()
    return write(
        lambda tokens: case.logits(tuple(tokens)).tolist(),
        prompt if spec.generation.begin is None else [spec.generation.begin, *prompt],
        command.sampling,
        seed_of(command.sampling.seed, number, copy),
        most=command.most,
        symbol=lambda token, further: (separator if further else "") + symbols[token],
        stop=command.stop,
        end=spec.generation.end,
        longest=spec.longest,
    )


def margin(case: Case, command: Generate, key: int, tokens: Sequence[int]) -> float:
    """How near the choice of the token behind these ones of a text was to another."""
    number, copy = divmod(key, command.copies)
    begin = case.spec.generation.begin if case.spec.generation else None
    read = (*(() if begin is None else (begin,)), *command.prompts[number].tokens.tolist(), *tokens)
    logits, seed = case.logits(read), seed_of(command.sampling.seed, number, copy)
    seen = np.isin(np.arange(len(logits)), read)
    how = Settings.of([command.sampling], [seed], len(logits))
    return float(margins(logits[None], seen[None], how, np.array([len(read)]))[0])


def told_of(text: Heard) -> Written:
    assert text.error is None and text.ending is not None, text
    return Written(text.tokens, text.text, text.ending)


def test_texts_in_company_are_those_that_the_model_writes_alone(case: Case) -> None:
    bench, near = Bench(case), 0
    made = requests(case.spec)
    for command in made:
        bench.post(command)
        bench.lane.tick()
    bench.finish()
    for command in made:
        found = heard(bench.told, command.sink)
        assert sorted(found) == list(range(3 * command.copies))
        for key, text in found.items():
            told, truth = told_of(text), alone(case, command, key)
            if told != truth:
                same = [a == b for a, b in zip(told.tokens, truth.tokens, strict=False)]
                assert margin(case, command, key, told.tokens[: (*same, False).index(False)]) < NEAR
                near += 1
    assert near <= 1
    assert not len(bench.lane.state.sequences) and len(bench.lane.state.slots) == LIMITS.slots


def test_a_text_ends_when_its_sequence_is_as_long_as_the_model_takes(case: Case) -> None:
    bench, (command, *_) = Bench(case), requests(case.spec)
    long = replace(command, most=50, sampling=Sampling(temperature=1.0, seed=4))
    bench.post(long)
    bench.finish()
    endings = {text.ending for text in heard(bench.told, long.sink).values()}
    assert endings <= {Ending.END, Ending.MOST if case.spec.longest is None else Ending.FULL}
    for key, text in heard(bench.told, long.sink).items():
        assert text.ending is not Ending.FULL or told_of(text) == alone(case, long, key)


def test_a_caller_that_leaves_takes_its_texts_along_at_once(case: Case) -> None:
    bench, (gone, *others) = Bench(case), requests(case.spec)
    bench.post(gone, *others)
    for _ in range(4):
        bench.lane.tick()
    before = len(bench.told)
    bench.post(Leave(gone.sink))
    bench.finish()
    assert all(sink is not gone.sink for sink, _ in bench.told[before:])
    for command in others:
        found = heard(bench.told, command.sink)
        assert [text.over for text in found.values()] == [True] * 3 * command.copies
    assert not len(bench.lane.state.sequences)


def test_a_text_whose_time_is_over_ends_between_ticks(case: Case) -> None:
    bench, (command, *_) = Bench(case), requests(case.spec)
    late = Generate(command.sink, command.prompts, 4, Sampling(1.0), 1000, (), 130.0, 100.0)
    bench.post(late)
    for _ in range(3):
        bench.lane.tick()
    bench.clock.now = 131.0
    bench.finish()
    endings = {text.ending for text in heard(bench.told, late.sink).values()}
    assert Ending.LATE in endings and endings <= {Ending.LATE, Ending.END, Ending.FULL}


def test_a_text_whose_time_is_over_does_not_wait_until_its_prompt_is_read(case: Case) -> None:
    bench, sink = Bench(case), Sink()
    source = (SOURCE,) if case.spec.start else ()
    bench.post(Generate(sink, (Prompt(np.ones(20, np.int64), source),), 1, Sampling(), 5, (), 130.0, 100.0))
    bench.lane.tick()
    assert bench.lane.state.busy and not bench.told
    bench.clock.now = 131.0
    bench.lane.tick()
    assert [text.ending for text in heard(bench.told, sink).values()] == [Ending.LATE]
    assert not len(bench.lane.state.sequences) and not bench.lane.state.busy


class Refusing:
    """An engine that refuses a batch of several rows once, when told to."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.once = engine, False
        self.walk, self.begin, self.fork, self.forget = engine.walk, engine.begin, engine.fork, engine.forget

    def run(self, batch: Batch) -> Outcome:
        if self.once and len(batch) > 1:
            self.once = False
            raise ModelFailed("refused once (scripted)")
        return self._engine.run(batch)


def test_texts_whose_batch_was_run_by_halves_are_the_same(case: Case) -> None:
    """What ran last is one half, and not what goes on."""
    source = (SOURCE,) if case.spec.start else ()
    prompts = tuple(Prompt(np.array(tokens), source, number) for number, tokens in enumerate(([1, 2], [3, 1])))
    told = []
    for refused in (False, True):
        engine, sink = Refusing(case.engine), Sink()
        bench = Bench(Case(case.spec, engine, case.logits))
        bench.post(Generate(sink, prompts, 1, Sampling(), 12, (), np.inf, 100.0))
        while not bench.told:
            bench.lane.tick()
        engine.once = refused
        bench.finish()
        assert not engine.once
        told.append(heard(bench.told, sink))
    assert told[0] == told[1]


def long_step(client: Sink, position: int, tokens: int) -> Step:
    """One that takes several ticks."""
    return Step(
        Steps(
            sink=client,
            keys=np.ones(1, np.uint32),
            numbers=np.full(1, STATELESS),
            positions=np.full(1, position),
            lengths=np.full(1, tokens),
            acked=np.full(1, NEVER_AGAIN),
            deadlines=np.full(1, np.inf),
            arrived=100.0,
            values=(np.ones(tokens, np.int64),),
        )
    )


def test_what_frees_a_text_is_heard_though_somebody_opens_what_is_under_way(case: Case) -> None:
    """An open awaits a step that takes several ticks, and what was answered before it is sent meanwhile. The caller
    that leaves has all rows; they would soon all be lost."""
    bench, client, (_, gone, _, other) = Bench(case), Sink(), requests(case.spec)
    name, source, length = ("", "a"), gone.prompts[0].source, min(5, case.spec.chunk.longest)
    bench.post(Open(client, 1, name, Mode.FRESH, 5, source))
    for position in range(0, 4 * length, length):
        bench.post(long_step(client, position, length), gone)
        bench.lane.tick()
        assert bench.lane.state.underway or case.spec.chunk.longest < LIMITS.part
        bench.post(Leave(gone.sink), Open(client, 1, name, Mode.RESUME, 5))
        bench.finish()
    bench.post(other, Close(client, (1,)))
    bench.finish()
    assert [text.over for text in heard(bench.told, other.sink).values()] == [True] * 3 * other.copies
    assert not len(bench.lane.state.sequences)
