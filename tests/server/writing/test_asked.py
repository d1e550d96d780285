"""What is refused of a request before anything is begun."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headrace.errors import InvalidInput
from headrace.server.commands import Generate, Prompt, Sampling
from headrace.server.writing.asked import beginning, refused, refused_prompt
from headrace.server.writing.writers import Writers
from headrace.spec import Cache, Chunk, Input, ModelSpec, Start

from .script import ENDING_WRITER, WRITER, ScriptedLane
from .test_writers import Caller, request

SOURCED = ENDING_WRITER.model_copy(
    update={
        "caches": (Cache(name="c", heads=1, width=2, filled=True),),
        "start": Start(inputs=(Input(name="source", dtype="int64", vocabulary=5),), longest=3),
    }
)


def asked(**options: object) -> Generate:
    return replace(request(Caller(), [0]), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (asked(copies=0), "1 copy"),
        (asked(most=0), "1 token"),
        (asked(stop=("",)), "stop strings"),
        (asked(stop=("x" * 257,)), "stop strings"),
        (asked(stop=("x",) * 17), "stop strings"),
        (asked(sampling=Sampling(temperature=-0.1)), "temperature"),
        (asked(sampling=Sampling(temperature=float("nan"))), "temperature"),
        (asked(sampling=Sampling(top_k=-1)), "top_k"),
        (asked(sampling=Sampling(top_p=0.0)), "top_p"),
        (asked(sampling=Sampling(top_p=1.1)), "top_p"),
        (asked(sampling=Sampling(repetition_penalty=0.0)), "repetition_penalty"),
        (asked(sampling=Sampling(seed=1 << 64)), "seed"),
        (asked(sampling=Sampling(seed=-1)), "seed"),
    ],
)
def test_a_request_out_of_range_is_refused(command: Generate, message: str) -> None:
    error = refused(WRITER, command)
    assert isinstance(error, InvalidInput) and message in str(error)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (WRITER.model_copy(update={"generation": None}), "does not write"),
        (WRITER.model_copy(update={"states": ()}), "does not write"),
        (WRITER.model_copy(update={"chunk": Chunk(longest=4, exactly=4)}), "one token at a time"),
        (WRITER.model_copy(update={"chunk": Chunk(longest=4, whole=True)}), "one token at a time"),
        (WRITER.model_copy(update={"text": None}), "no symbols"),
    ],
)
def test_a_model_that_cannot_do_it_says_so(spec: ModelSpec, message: str) -> None:
    error = refused(spec, asked(stop=("x",)))
    assert isinstance(error, InvalidInput) and message in str(error)


def test_what_is_in_range_is_taken() -> None:
    extremes = Sampling(temperature=0.0, top_k=10**6, top_p=1.0, repetition_penalty=0.5, seed=(1 << 64) - 1)
    assert refused(WRITER, asked(stop=("x" * 256,) * 16, sampling=extremes)) is None
    assert refused(WRITER.model_copy(update={"chunk": Chunk(longest=1, exactly=1)}), asked()) is None


def prompt(tokens: list[int], *source: np.ndarray) -> Prompt:
    return Prompt(np.array(tokens, np.int64), source)


@pytest.mark.parametrize(
    ("spec", "given", "message"),
    [
        (WRITER, prompt([]), "no token to begin with"),
        (WRITER, prompt([0, 8]), "outside 0 to 7"),
        (WRITER, prompt([-1]), "outside 0 to 7"),
        (WRITER.model_copy(update={"longest": 3}), prompt([0] * 4), "4 tokens"),
        (ENDING_WRITER.model_copy(update={"longest": 3}), prompt([0] * 3), "4 tokens"),
        (WRITER, prompt([0], np.zeros(1, np.int64)), "source of 0 tensors"),
        (SOURCED, prompt([]), "source of 1 tensors"),
        (SOURCED, prompt([], np.zeros(4, np.int64)), "4 time steps"),
        (SOURCED, prompt([], np.zeros(0, np.int64)), "no time steps"),
        (SOURCED, prompt([], np.zeros(2, np.float32)), "int64"),
        (SOURCED, prompt([], np.zeros((2, 1), np.int64)), "int64"),
        (SOURCED, prompt([], np.array([5])), "outside 0 to 4"),
    ],
)
def test_a_prompt_that_the_model_does_not_take_is_refused(spec: ModelSpec, given: Prompt, message: str) -> None:
    error = refused_prompt(spec, given)
    assert isinstance(error, InvalidInput) and message in str(error)


def test_the_token_before_all_others_is_put_there_once() -> None:
    assert beginning(ENDING_WRITER, prompt([])).tolist() == [7]
    assert beginning(ENDING_WRITER, prompt([1])).tolist() == [7, 1]
    assert beginning(ENDING_WRITER, prompt([7, 1])).tolist() == [7, 1]
    assert beginning(WRITER, prompt([1])).tolist() == [1]
    assert refused_prompt(SOURCED, prompt([], np.array([4, 0]))) is None


def test_all_texts_of_a_refused_request_are_told() -> None:
    lane = ScriptedLane(Writers(WRITER.model_copy(update={"generation": None}), 2))
    told = lane.writers.begin(asked(copies=3), 100.0)
    assert [answer.key for _, answer in told] == [0, 1, 2]  # type: ignore[union-attr]
    assert not lane.writers
