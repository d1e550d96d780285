"""Whatever comes in whatever order: each text ends once, is what it would be alone, and nothing stays behind."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ModelFailed, Overloaded
from headrace.server.commands import Generate, Open, Sampling
from headrace.server.steps import Ending
from headrace.server.writing.writers import Writers
from headrace.spec import ModelSpec

from .script import ENDING_WRITER, WRITER, Heard, ScriptedLane, heard
from .test_writers import Caller, alone, finish, request

SPECS = st.sampled_from([WRITER, ENDING_WRITER, WRITER.model_copy(update={"longest": 7})])
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1.0, 2.0]),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([1.0, 0.8]),
    repetition_penalty=st.sampled_from([1.0, 1.5]),
    seed=st.integers(0, 9),
)
REQUESTS = st.fixed_dictionaries(
    {
        "prompts": st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=6), min_size=1, max_size=3),
        "copies": st.integers(1, 4),
        "most": st.integers(1, 9),
        "sampling": SAMPLINGS,
        "stop": st.sampled_from([(), ("ab",), (" b", "c.", "aa")]),
        "deadline": st.sampled_from([float("inf"), float("inf"), 105.0]),
    }
)
EVENTS = st.one_of(
    st.tuples(st.just("begin"), REQUESTS),
    st.tuples(st.just("tick"), st.integers(1, 4)),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("fail"), st.integers(0, 5)),
    st.tuples(st.just("lose"), st.integers(0, 5)),
    st.tuples(st.just("refuse"), st.just(0)),
)


class Story:
    """Events and what they leave. Mutable: `asked`, requests of callers that are there still, and whether trouble of
    the lane may have hit them."""

    def __init__(self, spec: ModelSpec, most: int) -> None:
        self.spec, self.lane = spec, ScriptedLane(Writers(spec, most))
        self.asked: list[Generate] = []
        self.most = most

    def tell(self, event: str, what: object) -> None:
        match event, what:
            case "begin", dict():
                prompts = what["prompts"]
                command = request(Caller(), *prompts, **{name: what[name] for name in what if name != "prompts"})
                self.asked.append(command)
                self.lane.begin(command)
            case "tick", int(rows):
                self.lane.rows, self.lane.now = rows, self.lane.now + 1
                self.lane.tick()
            case "leave", int(place) if self.asked:
                gone = self.asked.pop(place % len(self.asked))
                before = len(self.lane.told)
                self.lane.leave(gone.sink)
                assert all(sink is not gone.sink for sink, _ in self.lane.told[before:])
            case _, int(place):
                self.trouble(event, place)

    def trouble(self, kind: str, place: int) -> None:
        waiting = sorted({key for key, _, _ in self.lane.queue})
        if kind == "refuse":
            self.lane.refuse = Overloaded("scripted")
        elif kind == "fail" and waiting:
            self.lane.broken[waiting[place % len(waiting)]] = ModelFailed("scripted")
        elif kind == "lose" and self.lane.live:
            self.lane.lose(sorted(self.lane.live)[place % len(self.lane.live)])

    def end(self) -> None:
        self.lane.rows = 64
        finish(self.lane)
        assert not self.lane.live and not self.lane.queue and not self.lane.names
        assert repr(self.lane.writers) == "Writers(writing=0, waiting=0)"
        for command in self.asked:
            found = heard(self.lane.told, command.sink)
            keys = list(range(len(command.prompts) * command.copies))
            assert sorted(found) == keys and all(text.over for text in found.values())
            for key in keys:
                self.is_as_if_alone(command, key, found[key])

    def is_as_if_alone(self, command: Generate, key: int, text: Heard) -> None:
        whole = alone(command, key, self.spec)
        assert whole.tokens[: len(text.tokens)] == text.tokens and whole.text.startswith(text.text)
        if text.error is None and text.ending is not Ending.LATE:
            assert (text.tokens, text.text, text.ending) == (whole.tokens, whole.text, whole.ending)


@settings(max_examples=120, deadline=None)
@given(SPECS, st.integers(1, 4), st.lists(EVENTS, max_size=25))
def test_every_text_ends_once_as_if_it_were_alone(spec: ModelSpec, most: int, events: list[tuple[str, object]]) -> None:
    story = Story(spec, most)
    for event, what in events:
        story.tell(event, what)
        assert len(story.lane.live) <= most + 1 and story.lane.writers.writing <= most
    story.end()


@settings(max_examples=40, deadline=None)
@given(SPECS, st.integers(1, 4), st.lists(REQUESTS, min_size=1, max_size=5), st.integers(1, 3))
def test_without_trouble_each_prompt_is_read_once(
    spec: ModelSpec, most: int, requests: list[dict[str, object]], rows: int
) -> None:
    story = Story(spec, most)
    for what in requests:
        story.tell("begin", {**what, "deadline": float("inf")})
        story.tell("tick", rows)
    story.end()
    opened = [command for command in story.lane.commands if isinstance(command, Open)]
    assert len(opened) == sum(len(command.prompts) for command in story.asked)
    assert all(text.error is None for c in story.asked for text in heard(story.lane.told, c.sink).values())
