"""Models of a few numpy lines: what they take and give."""

from __future__ import annotations

from headrace.spec import Cache, Chunk, Input, ModelSpec, Output, Start, State, Text

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
TRANSLATOR = ModelSpec(
    name="translator",
    inputs=LETTERS.inputs,
    outputs=SUM.outputs,
    caches=(Cache(name="own", heads=1, width=2), Cache(name="source", heads=1, width=2, filled=True)),
    longest=20,
    chunk=Chunk(longest=2),
    start=Start(inputs=(Input(name="word", dtype="int64", vocabulary=3),), longest=8, text=LETTERS.text),
)
SEEING = TRANSLATOR.model_copy(
    update={"name": "seeing", "start": Start(inputs=(Input(name="seen", dtype="float32", shape=(2,)),), longest=8)}
)
SPECS = {spec.name: spec for spec in (SUM, PAIR, MEAN, LETTERS, TOKENS, TRANSLATOR, SEEING)}
