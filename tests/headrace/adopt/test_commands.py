"""Inspect tells what a file says; adopt drafts what it does not, and the draft serves once it is decided."""

from __future__ import annotations

import io
import shutil
from importlib.util import find_spec
from pathlib import Path

import onnx
import onnx.parser
import pytest
from rich.console import Console

from headrace.adopt import adopt_file, inspect_file
from headrace.contract import read_graph, with_spec
from headrace.errors import ConfigurationError
from headrace.foreign import Foreign
from headrace.server.foreign import canonical
from headrace.spec import Chunk

from ...server.foreign_graphs import ALONE, CELL, SUM, TIME_FIRST, Stranger


def saved(folder: Path, graph: str | Stranger, opset: int = 17) -> Path:
    text = f'<ir_version: 8, opset_import: ["" : {opset}, "strange" : 1]>\n{graph}'
    model = graph.model if isinstance(graph, Stranger) else onnx.parser.parse_model(text)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def inspected(file: Path) -> str:
    out = io.StringIO()
    inspect_file(file, Console(file=out, width=200))
    return out.getvalue()


def drafted(file: Path, values: dict[str, float] | None = None) -> str:
    return adopt_file(file, Console(quiet=True), values).read_text()


def served(file: Path, text: str) -> Chunk:
    (file.parent / "decided.toml").write_text(text)
    return canonical(read_graph(file), Foreign.read(file.parent / "decided.toml"), "stranger")[1].chunk


@pytest.fixture
def silero(tmp_path: Path) -> Path:
    package = find_spec("silero_vad")
    assert package is not None and package.submodule_search_locations is not None, "pip install '.[dev]'"
    return Path(shutil.copy(Path(package.submodule_search_locations[0]) / "data" / "silero_vad.onnx", tmp_path))


def test_inspect_prints_what_silero_says_and_what_it_does_not(silero: Path) -> None:
    text = inspected(silero)
    for words in (
        "opset ai.onnx 16; IR version 8; made by spox",
        "float32 [2, ?, 128] │ state, then stateN",
        "int64 []            │ constant",
        "dynamic axes: input.0=?, input.1=?, state.1=?, output.0=?",
        "25 If",
        "4 LSTM",  # they stand in branches
        "- the value of sr, one for all rows",
        "- no input tells the rows' lengths",
        "- a model.toml beside it",
    ):
        assert words in text


def test_the_draft_of_silero_serves_once_it_is_decided(silero: Path) -> None:
    text = drafted(silero, {"sr": 16000})
    assert 'axes = ["batch", 1]  # seen in a run' in text and "value = 16000" in text
    text = text.replace("# exactly = n", "exactly = 512")
    text = text.replace("# padded_end", "padded_end").replace("# context = n", "context = 64 #")
    assert served(silero, text) == Chunk(longest=512, exactly=512, padded_end=True)


def test_a_value_that_is_not_known_is_asked_for(silero: Path) -> None:
    text = drafted(silero)
    assert "# DECIDE: no probe ran" in text and "to know sr may help" in text
    with pytest.raises(ConfigurationError, match=r"chunk: give either .*; constants\.0\.value: Field required"):
        served(silero, text)


@pytest.mark.parametrize(
    ("stranger", "chunk"),
    [
        (SUM, Chunk(longest=1024, equal_lengths=True)),
        (TIME_FIRST, Chunk(longest=1024, whole=True)),
        (CELL, Chunk(longest=1, exactly=1, rows=1)),
        (ALONE, Chunk(longest=1024, rows=1)),
    ],
    ids=["sum", "time-first", "cell", "alone"],
)
def test_what_can_be_guessed_is_right(tmp_path: Path, stranger: Stranger, chunk: Chunk) -> None:
    file = saved(tmp_path, stranger)
    assert served(file, drafted(file).replace("# longest", "longest")) == chunk


def test_outputs_are_what_a_run_shows_whatever_is_declared(tmp_path: Path) -> None:
    graph = SUM.graph.replace("float[B, T, 2] y", "float[5, 5] y")
    file = saved(tmp_path, graph)
    assert 'axes = ["batch", "time", 2]  # seen in a run; the graph: float32 [5, 5]' in drafted(file)


def test_an_output_with_other_steps_than_the_input_is_remarked(tmp_path: Path) -> None:
    graph = """
    half (float[B, T, 3] x) => (float[B, U, 3] y)
    <int64[1] first = {0}, int64[1] far = {1000}, int64[1] axis = {1}, int64[1] two = {2}> {
        y = Slice(x, first, far, axis, two)
    }
    """
    assert "one result a time step is what can be served" in drafted(saved(tmp_path, graph))


def test_a_model_that_cannot_run_is_drafted_all_the_same(tmp_path: Path) -> None:
    text = drafted(saved(tmp_path, "odd (float[B, T, 2] x) => (float[B, T, 2] y) { y = strange.Magic(x) }"))
    assert "# DECIDE: the runtime cannot load it" in text and "# a guess; the graph" in text


def test_inspect_says_what_stands_in_the_way(tmp_path: Path) -> None:
    graph = """
    odd (float[B, H, P, 2] past, bool[B, T] attention_mask, complex64[B, T] x) => (complex64[B, T] y)
    { y = strange.Magic(x, past, attention_mask) }
    """
    text = inspected(saved(tmp_path, graph, opset=11))
    for words in (
        "operators of the domain strange",
        "x is complex64 [B, T]: a dtype that is not served",
        "attention_mask looks like a mask",
        "a state that grows is not served",
        "opset 11 is older than 13",
    ):
        assert words in text


@pytest.mark.parametrize("shape", ["4, 10, 3", "4, T, 3"])
def test_a_batch_that_the_graph_fixes_is_not_taken_for_a_time_step(tmp_path: Path, shape: str) -> None:
    file = saved(tmp_path, f"odd (float[{shape}] x) => (float[{shape}] y) {{ y = Exp(x) }}")
    doubt = f"x is float32 [{shape}]: nothing tells what its first axis counts; a batch that the graph fixes cannot be"
    text = drafted(file)
    assert f"- {doubt}" in inspected(file) and f"# DECIDE: {doubt}" in text
    with pytest.raises(ConfigurationError, match=r"an axis is .* not 0"):
        served(file, text.replace("# longest", "longest"))


@pytest.mark.parametrize(("shape", "asked"), [("B, 10, 3", True), ("B, 3", False), ("3", False)])
def test_a_time_axis_that_may_be_fixed_is_asked_for(tmp_path: Path, shape: str, asked: bool) -> None:
    text = drafted(saved(tmp_path, f"odd (float[{shape}] x) => (float[{shape}] y) {{ y = Exp(x) }}"))
    assert ("# DECIDE: no input has an open time axis" in text) is asked
    assert "exactly = 1\n" in text


def test_a_size_of_zero_stands_for_any_size(tmp_path: Path) -> None:
    file = saved(tmp_path, "old (float[batch, 0, 3] x) => (float[batch, 0, 3] y) { y = Exp(x) }")
    assert "dynamic axes: x.0=batch, x.1=?, y.0=batch, y.1=?" in inspected(file)
    text = drafted(file)
    assert text.count('axes = ["batch", "time", 3]') == 2 and text.count("seen in a run") == 1
    assert served(file, text.replace("# longest", "longest")).longest == 1024


def test_an_input_of_undeclared_shape_is_inspected_and_its_axes_asked_for(tmp_path: Path) -> None:
    file = saved(tmp_path, "bare (float[B, T, 3] x) => (float[B, T, 3] y) { y = Exp(x) }")
    model = onnx.load(file)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.ClearField("shape")
    onnx.save(model, file)
    doubt = "x is float32 of undeclared shape: its axes are for you to say"
    assert f"- {doubt}" in inspected(file)
    text = drafted(file)
    assert f"# DECIDE: {doubt}" in text and "no probe ran: the graph declares no shape of x" in text
    text = text.replace("# longest", "longest")
    with pytest.raises(ConfigurationError, match=r"inputs\.0\.axes: Field required; outputs\.0\.axes: Field required"):
        served(file, text)
    text = text.replace("# axes = []", 'axes = ["batch", "time", 3]')
    assert served(file, text).longest == 1024


def test_tensors_whose_plain_names_are_one_are_numbered(tmp_path: Path) -> None:
    file = saved(tmp_path, SUM)
    model = onnx.load(file)
    renamed = {"x": "h/in", "h": "h:in", "h_new": "h:out", "y": "y"}
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.name = renamed[tensor.name]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    onnx.save(model, file)
    text = drafted(file)
    assert 'name = "h_in"\ninput = "h:in"' in text and 'name = "h_in_2"\ntensor = "h/in"' in text
    assert served(file, text.replace("# longest", "longest")) == Chunk(longest=1024, equal_lengths=True)


def test_odd_characters_of_a_graph_leave_the_draft_readable(tmp_path: Path) -> None:
    named, info = {"x": "x😀", "y": 'y"\\'}, onnx.helper.make_tensor_value_info
    shape = ["batch", "time\n= 3", 3]
    x, y = (info(name, onnx.TensorProto.FLOAT, shape) for name in named.values())
    node = onnx.helper.make_node("Exp", [x.name], [y.name])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "odd", [x], [y]), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, file := tmp_path / "model.onnx")
    assert served(file, drafted(file).replace("# longest", "longest")).longest == 1024


def test_what_may_be_a_state_is_told_by_inspect_and_marked_in_the_draft(tmp_path: Path) -> None:
    file = saved(
        tmp_path,
        "sum (float[B, 3] x, float[B, 3] buf) => (float[B, 3] y, float[B, 3] n2) { y = Add(x, buf) n2 = Exp(y) }",
    )
    doubt = "buf is drafted as an input, but has the dtype and shape of y, n2"
    assert f"- {doubt}" in inspected(file) and f"# DECIDE: {doubt}" in drafted(file)


def test_a_draft_overwrites_nothing(tmp_path: Path) -> None:
    file = saved(tmp_path, ALONE)
    (tmp_path / "model.toml").write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already"):
        drafted(file)
    assert (tmp_path / "model.toml").read_text() == "mine"


def test_a_value_for_an_input_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no inputs rate; it has x, h"):
        drafted(saved(tmp_path, ALONE), {"rate": 1})
    assert not (tmp_path / "model.toml").exists()


def test_a_value_makes_an_input_a_constant_whatever_it_looks_like(tmp_path: Path) -> None:
    graph = "odd (float[B, T, 3] x, float[3] scale) => (float[B, T, 3] y) { y = Mul(x, scale) }"
    text = drafted(file := saved(tmp_path, graph), {"scale": 2})
    assert 'tensor = "scale"\nvalue = 2.0' in text and text.count("[[inputs]]") == 1
    assert served(file, text.replace("# longest", "longest")).longest == 1024


def test_a_value_makes_a_seeming_state_a_constant(tmp_path: Path) -> None:
    text = drafted(saved(tmp_path, ALONE), {"h": 1})
    assert 'tensor = "h"\nvalue = 1.0' in text and "[[states]]" not in text


def test_a_value_for_an_input_with_open_axes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"x is float32 \[T\]: only an input of fixed shape can be a constant"):
        drafted(saved(tmp_path, ALONE), {"x": 1})
    assert not (tmp_path / "model.toml").exists()


def test_a_model_whose_inputs_all_look_like_states_is_drafted_and_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, "odd (float[B, 3] h) => (float[B, 3] h_new) { h_new = Exp(h) }")
    doubt = "all inputs look like states or constants: something must go in"
    text = drafted(file)
    assert f"- {doubt}" in inspected(file) and f"# DECIDE: {doubt}" in text
    with pytest.raises(ConfigurationError, match="inputs: Field required"):
        served(file, text)


def test_a_value_that_the_dtype_does_not_hold_is_refused(silero: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"sr is int64 \[\]: its dtype does not hold 2\.5"):
        drafted(silero, {"sr": 2.5})
    assert not silero.with_name("model.toml").exists()


def test_a_model_of_ours_needs_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    onnx.save(with_spec(*canonical(SUM.model, SUM.foreign, "sum")), file)
    assert "nothing: it carries a Headrace spec" in inspected(file)
    with pytest.raises(ConfigurationError, match="can be served as it is"):
        drafted(file)


def test_what_is_no_model_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model")
    with pytest.raises(ConfigurationError, match="not a usable ONNX file"):
        inspected(tmp_path / "model.onnx")
