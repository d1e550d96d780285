"""Models of a few numpy lines: what they take and give."""

from __future__ import annotations

from headrace.spec import Chunk, Input, ModelSpec, Output, State, Text

SUM = ModelSpec(
    name="sum",
    inputs=(Input(name="x", dtype="float32", shape=(2,)),),
    outputs=(Output(name="y", dtype="float32", shape=(2,), time=True),),
    states=(State(name="s", input="s_in", output="s_out", dtype="float32", shape=(2,)),),
    chunk=Chunk(longest=1000),
)
PAIR = ModelSpec(
    name="pair",
    inputs=(Input(name="x", dtype="float32", shape=(2,)), Input(name="id", dtype="int64", vocabulary=10)),
    outputs=(
        Output(name="y", dtype="float32", shape=(2,), time=True),
        Output(name="ids", dtype="int64", time=False),
    ),
    states=SUM.states,
    chunk=Chunk(longest=1000),
)
MEAN = ModelSpec(
    name="mean",
    inputs=SUM.inputs,
    outputs=(Output(name="m", dtype="float32", shape=(2,), time=False, labels=("left", "right")),),
    chunk=Chunk(longest=1000, whole=True),
)
LETTERS = ModelSpec(
    name="letters",
    inputs=(Input(name="ids", dtype="int64", vocabulary=3),),
    outputs=(Output(name="logits", dtype="float32", shape=(3,), time=True),),
    states=SUM.states,
    chunk=Chunk(longest=2),
    text=Text(symbols=("a", "b", "\n")),
)
TOKENS = ModelSpec(
    name="tokens",
    inputs=(Input(name="ids", dtype="int64", vocabulary=3),),
    outputs=SUM.outputs,
    states=SUM.states,
    chunk=Chunk(longest=2),
)
SPECS = {spec.name: spec for spec in (SUM, PAIR, MEAN, LETTERS, TOKENS)}
