"""Texts by a scripted lane: what callers are told, what the lane is asked, and when places are free again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from headrace.errors import InvalidInput, ModelFailed, Overloaded, SequenceFull, Unavailable, UnknownSequence
from headrace.server.commands import Cancel, Close, Fork, Generate, Open, Prompt, Sampling, Step
from headrace.server.steps import Ending, Failed, Stepped, Wrote
from headrace.server.writing.writers import Writers
from headrace.spec import ModelSpec

from .reference import Written, seed_of, write
from .script import ENDING_WRITER, WRITER, Heard, ScriptedLane, heard, logits_of

WARM = Sampling(temperature=1.0, top_k=6, top_p=0.95, repetition_penalty=1.1, seed=7)
ALWAYS = float("inf")


@dataclass(eq=False)
class Caller:
    def deliver(self, answer: object) -> None:
        raise AssertionError("what is told stands in the lane's answers")


def lane_of(spec: ModelSpec = WRITER, most: int = 4) -> ScriptedLane:
    return ScriptedLane(Writers(spec, most))


def request(
    sink: Caller,
    *prompts: list[int],
    copies: int = 1,
    sampling: Sampling = WARM,
    most: int = 5,
    stop: tuple[str, ...] = (),
    deadline: float = ALWAYS,
) -> Generate:
    made = tuple(Prompt(np.array(p, np.int64), (), number) for number, p in enumerate(prompts))
    return Generate(sink, made, copies, sampling, most, stop, deadline, 0.0)


def alone(command: Generate, key: int, spec: ModelSpec = WRITER) -> Written:
    """The text by the reference."""
    assert spec.text is not None and spec.generation is not None
    symbols, separator, begin = spec.text.symbols, spec.text.separator, spec.generation.begin
    number, copy = divmod(key, command.copies)
    prompt = command.prompts[number].tokens.tolist()
    read = prompt if begin is None or prompt[:1] == [begin] else [begin, *prompt]
    return write(
        logits_of,
        read,
        command.sampling,
        seed_of(command.sampling.seed, command.prompts[number].number, copy),
        most=command.most,
        symbol=lambda token, further: (separator if further else "") + symbols[token],
        goes_on=bool(prompt),
        stop=command.stop,
        end=spec.generation.end,
        longest=spec.longest,
    )


def finish(lane: ScriptedLane, ticks: int = 200) -> None:
    for _ in range(ticks):
        if not lane.writers:
            return
        lane.tick()
    raise AssertionError(f"{lane.writers} does not come to an end")


def texts(lane: ScriptedLane, command: Generate) -> list[Written]:
    """All of them, once each has ended."""
    found = heard(lane.told, command.sink)
    assert sorted(found) == list(range(len(command.prompts) * command.copies))
    return [_written(found[key]) for key in sorted(found)]


def _written(text: Heard) -> Written:
    assert text.error is None and text.ending is not None, text
    return Written(text.tokens, text.text, text.ending)


def expected(command: Generate, spec: ModelSpec = WRITER) -> list[Written]:
    return [alone(command, key, spec) for key in range(len(command.prompts) * command.copies)]


@pytest.mark.parametrize("spec", [WRITER, ENDING_WRITER, WRITER.model_copy(update={"longest": 6})])
def test_texts_are_those_that_are_written_one_at_a_time(spec: ModelSpec) -> None:
    lane, command = lane_of(spec), request(Caller(), [0], [1, 2], [3, 1, 4, 1, 5], [2] * 4, most=12)
    lane.begin(command)
    finish(lane)
    assert texts(lane, command) == expected(command, spec)


def test_a_text_without_a_prompt_begins_with_the_token_before_all_others_and_without_a_separator() -> None:
    lane, command = lane_of(ENDING_WRITER), request(Caller(), [], [7], [0], most=3, sampling=Sampling(seed=3))
    lane.begin(command)
    finish(lane)
    assert texts(lane, command) == expected(command, ENDING_WRITER)
    empty, begun, prompted = texts(lane, command)
    assert empty.tokens == begun.tokens and begun.text == " " + empty.text
    assert prompted.text.startswith(" ")


def test_rows_of_a_tick_go_on_in_one_step_command_and_a_caller_hears_once() -> None:
    lane, caller = lane_of(), Caller()
    lane.begin(request(caller, [0], [1], [2], sampling=Sampling()))
    lane.tick()
    lane.commands.clear()
    lane.told.clear()
    lane.tick()
    assert [type(command) for command in lane.commands] == [Step]
    assert [type(answer) for _, answer in lane.told] == [Wrote]


def test_the_last_token_of_a_text_is_not_stepped() -> None:
    lane = lane_of()
    lane.begin(request(Caller(), [0, 1], most=3))
    finish(lane)
    assert lane.steps == [1, 1, 1]  # the prompt, and two of three tokens


def test_a_prompt_comes_in_parts_that_a_step_can_hold() -> None:
    lane = lane_of()
    lane.begin(request(Caller(), [1] * 10, most=1))
    finish(lane)
    lengths = [int(command.steps.lengths[0]) for command in lane.commands if isinstance(command, Step)]
    assert lengths == [4, 4, 2]


def test_no_more_texts_are_under_way_than_the_batch_has_rows_and_others_follow_in_order() -> None:
    lane, callers = lane_of(most=2), [Caller() for _ in range(5)]
    for caller in callers:
        lane.begin(request(caller, [0], most=2))
    assert repr(lane.writers) == "Writers(writing=0, waiting=5)"
    lane.tick()
    assert (lane.writers.writing, lane.writers.waiting) == (2, 3)
    finish(lane)
    assert max(lane.steps) == 2
    order = [next(n for n, (sink, _) in enumerate(lane.told) if sink is caller) for caller in callers]
    assert order == sorted(order)


@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_copies_read_their_prompt_once_and_draw_by_seeds_of_their_own(most: int) -> None:
    lane, command = lane_of(most=most), request(Caller(), [0, 3, 1], [2], copies=5, most=4)
    lane.begin(command)
    finish(lane)
    assert texts(lane, command) == expected(command)
    assert sum(isinstance(c, Open) for c in lane.commands) == 2
    assert sum(len(c.keys) for c in lane.commands if isinstance(c, Fork)) == 8
    assert len({text.tokens for text in texts(lane, command)[:5]}) > 1
    assert max(lane.steps) <= most


def test_a_prompt_says_its_place_by_which_its_seeds_are_found() -> None:
    lane, caller = lane_of(), Caller()
    whole = request(caller, [0], [0])
    part = Generate(caller, (Prompt(np.array([0]), (), 1),), 1, WARM, 5, (), ALWAYS, 0.0)
    lane.begin(part)
    finish(lane)
    assert texts(lane, part) == expected(whole)[1:]
    assert expected(whole)[0] != expected(whole)[1]


def test_stop_strings_end_a_text_before_them() -> None:
    for seed in range(30):
        sampling = Sampling(temperature=1.5, seed=seed)
        lane, command = lane_of(), request(Caller(), [0], [1], most=20, stop=("c.", "bc", "aab"), sampling=sampling)
        lane.begin(command)
        finish(lane)
        assert texts(lane, command) == expected(command)
        assert not any(stop in text.text for text in texts(lane, command) for stop in command.stop)


def test_a_sequence_that_is_full_ends_its_text_and_keeps_what_was_written() -> None:
    lane, command = lane_of(), request(Caller(), [0])
    lane.begin(command)
    lane.tick()
    lane.tick()
    lane.broken[0] = SequenceFull("scripted")
    finish(lane)
    (text,) = texts(lane, command)
    assert text.ending is Ending.FULL and text.tokens == alone(command, 0).tokens[:2]


def test_a_failure_is_its_own_texts_and_frees_its_place() -> None:
    lane, command = lane_of(most=2), request(Caller(), [0], [1], [2])
    lane.begin(command)
    lane.tick()
    lane.broken[1] = ModelFailed("scripted")
    finish(lane)
    found = heard(lane.told, command.sink)
    assert isinstance(found[1].error, ModelFailed)
    assert [_written(found[key]) for key in (0, 2)] == [alone(command, key) for key in (0, 2)]
    assert not lane.live


def test_a_prompt_that_cannot_be_opened_fails_all_its_copies() -> None:
    lane, command = lane_of(), request(Caller(), [0], [1], copies=3)
    lane.refuse = Overloaded("scripted")
    lane.begin(command)
    finish(lane)
    found = heard(lane.told, command.sink)
    assert all(isinstance(found[key].error, Overloaded) for key in range(3))
    assert [_written(found[key]) for key in range(3, 6)] == expected(command)[3:]


def test_a_copy_that_cannot_be_made_fails_alone() -> None:
    lane, command = lane_of(), request(Caller(), [0], copies=3)
    lane.begin(command)
    lane.refuse = Overloaded("scripted")
    finish(lane)
    found = heard(lane.told, command.sink)
    assert isinstance(found[0].error, Overloaded)
    assert [_written(found[key]) for key in (1, 2)] == expected(command)[1:]


def test_a_sequence_that_is_lost_fails_its_text() -> None:
    lane, command = lane_of(), request(Caller(), [0], [1])
    lane.begin(command)
    lane.tick()
    lane.lose(0)
    finish(lane)
    assert isinstance(heard(lane.told, command.sink)[0].error, UnknownSequence)
    assert not any(isinstance(c, Close) and 0 in c.keys for c in lane.commands)


def test_logits_among_which_nothing_can_be_chosen_fail_their_text_alone() -> None:
    writers, caller = Writers(WRITER, 2), Caller()
    lane = ScriptedLane(writers)
    lane.begin(request(caller, [0], [1]))
    logits = np.stack([np.full(8, np.nan, np.float32), logits_of([1])])
    lane.queue.clear()
    answer = Stepped(np.array([0, 1], np.uint32), np.zeros(2, np.int64), np.ones(2, np.int64), (np.zeros(2), logits))
    lane.settle([answer])
    assert isinstance(heard(lane.told, caller)[0].error, ModelFailed)
    assert [row[0] for row in lane.queue] == [1]


def test_a_caller_that_leaves_has_its_rows_freed_at_once() -> None:
    lane, gone, other = lane_of(most=3), Caller(), Caller()
    lane.begin(request(gone, [0], copies=2))
    lane.begin(request(gone, [0], copies=9))
    lane.tick()
    command = request(other, [1], [2])
    lane.begin(command)
    lane.tick()
    lane.told.clear()
    lane.leave(gone)
    assert all(sink is other for sink, _ in lane.told)
    assert len(lane.live) == len(lane.queue) == 2
    finish(lane)
    assert texts(lane, command) == expected(command)
    assert not heard(lane.told, gone) and not lane.live


def test_a_step_that_waits_is_cancelled_before_its_sequence_closes() -> None:
    lane, caller = lane_of(), Caller()
    lane.begin(request(caller, [0]))
    kinds = [type(command) for command in lane.writers.leave(caller)]
    assert kinds == [Cancel, Close]


def test_a_text_whose_time_is_over_ends_late_with_what_it_has() -> None:
    lane, late, other = lane_of(most=2), Caller(), Caller()
    command, lasting = request(late, [0], [1], [2], copies=2, most=50, deadline=150.0), request(other, [1])
    lane.begin(command)
    lane.begin(lasting)
    lane.tick()
    lane.tick()
    lane.now = 150.0
    lane.tick()
    assert not any(text.over for text in heard(lane.told, late).values())
    lane.now = 150.5
    finish(lane)
    found = texts(lane, command)
    assert {text.ending for text in found} == {Ending.LATE}
    assert len(found[0].tokens) == 3 and not any(text.tokens for text in found[2:])
    assert texts(lane, lasting) == expected(lasting)


def test_held_back_symbols_of_a_late_text_are_told() -> None:
    greedy = Sampling()
    plain = alone(request(Caller(), [1], most=1, sampling=greedy), 0)
    lane = lane_of()
    command = request(Caller(), [1], most=9, sampling=greedy, stop=(plain.text + "~",), deadline=150.0)
    lane.begin(command)
    lane.tick()
    assert not heard(lane.told, command.sink)
    lane.now = 151.0
    finish(lane)
    assert texts(lane, command) == [Written(plain.tokens, plain.text, Ending.LATE)]


def test_a_broken_lane_gives_all_texts_up() -> None:
    lane, command = lane_of(most=2), request(Caller(), [0], [1], copies=3)
    lane.begin(command)
    lane.tick()
    lane.told += lane.writers.give_up(Unavailable("scripted"))
    found = heard(lane.told, command.sink)
    assert sorted(found) == list(range(6)) and all(isinstance(text.error, Unavailable) for text in found.values())
    assert not lane.writers and repr(lane.writers) == "Writers(writing=0, waiting=0)"


def test_a_prompt_that_is_wrong_is_refused_at_once_and_others_are_written() -> None:
    lane, command = lane_of(), request(Caller(), [0], [8], [1], copies=2)
    refused = lane.writers.begin(command, 100.0)
    failed = [(sink, answer) for sink, answer in refused if isinstance(answer, Failed)]
    assert [(sink, answer.key) for sink, answer in failed] == [(command.sink, 2), (command.sink, 3)]
    assert len(failed) == len(refused) and all(isinstance(answer.error, InvalidInput) for _, answer in failed)
    lane.settle([])
    finish(lane)
    assert sorted(heard(lane.told, command.sink)) == [0, 1, 4, 5]
