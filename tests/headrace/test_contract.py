"""Files that hold what their spec says, and files that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from headrace.contract import check, read_model, with_spec
from headrace.errors import ConfigurationError
from headrace.spec import Chunk, Input, ModelSpec, Output, State

SPEC = ModelSpec(
    name="sum",
    inputs=(Input(name="x", dtype="float32", shape=(2,)),),
    outputs=(Output(name="y", dtype="float32", shape=(2,), time=True),),
    states=(State(name="s", input="s", output="s_out", dtype="float32", shape=(2,)),),
    chunk=Chunk(longest=1),
)


def model(first: str | int = "tokens", rows: str = "rows") -> onnx.ModelProto:
    """s' = s + x, y = s'; `first` is the first axis of x."""
    info, kinds = helper.make_tensor_value_info, (TensorProto.FLOAT, TensorProto.INT64)
    graph = helper.make_graph(
        [helper.make_node("Add", ["s", "x"], ["s_out"]), helper.make_node("Identity", ["s_out"], ["y"])],
        "sum",
        [info("x", kinds[0], [first, 2]), info("lengths", kinds[1], [rows]), info("s", kinds[0], [rows, 2])],
        [info("y", kinds[0], ["tokens", 2]), info("s_out", kinds[0], [rows, 2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def saved(folder: Path, content: onnx.ModelProto) -> Path:
    file = folder / "model.onnx"
    onnx.save(content, file)
    return file


def test_the_spec_comes_back_from_the_file(tmp_path: Path) -> None:
    given = model()
    _, spec = read_model(saved(tmp_path, with_spec(given, SPEC)))
    assert spec == SPEC
    assert not given.metadata_props  # what was given is left as it was


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": (Input(name="z", dtype="float32", shape=(2,)),)}, ("input z is missing", "input x is not in the")),
        (
            {"inputs": (Input(name="x", dtype="int64", shape=(2,)),)},
            ("x is float32 [tokens, 2], the spec needs int64",),
        ),
        ({"inputs": (Input(name="x", dtype="float32", shape=(3,)),)}, ("the spec needs float32 [tokens, 3]",)),
        ({"states": ()}, ("input s is not in the spec", "output s_out is not in the spec")),
        ({"outputs": (Output(name="y", dtype="float32", time=True),)}, ("y is float32 [tokens, 2]",)),
    ],
)
def test_all_misfits_are_named(tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]) -> None:
    file = saved(tmp_path, with_spec(model(), SPEC.model_copy(update=change)))
    with pytest.raises(ConfigurationError) as caught:
        read_model(file)
    assert all(word in str(caught.value) for word in (str(file), *words))


def test_a_frozen_time_axis_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"x is float32 \[5, 2\], the spec needs float32 \[tokens, 2\]"):
        check(model(first=5), SPEC)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = saved(tmp_path, with_spec(model(), SPEC))
    file.write_bytes(file.read_bytes()[:100] if content is None else content)
    with pytest.raises(ConfigurationError, match="not a usable ONNX file"):
        read_model(file)


def test_a_model_without_a_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="carries no Headrace spec"):
        read_model(saved(tmp_path, model()))


def test_a_spec_of_another_format_is_refused(tmp_path: Path) -> None:
    content = model()
    helper.set_model_props(content, {"headrace.spec": SPEC.to_json().replace('"format":1', '"format":2')})
    with pytest.raises(ConfigurationError, match="format"):
        read_model(saved(tmp_path, content))
