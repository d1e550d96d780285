"""Sizes that would take all memory while a model is loaded are refused in one line."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from headrace.errors import ConfigurationError
from headrace.server.foreign_size import check_sizes
from headrace.server.repository import naming
from headrace.spec import Chunk, Input, ModelSpec, Output, State

from .foreign_graphs import SUM
from .test_repository import loaded

FRAME = 1 << 20


def spec(time: int, state: str = "s", size: int = 1) -> ModelSpec:
    """Two float32 a time step, and a state of so many."""
    return ModelSpec(
        name="stranger",
        inputs=(Input(name="x", dtype="float32", shape=(2,)),),
        outputs=(Output(name="y", dtype="float32", time=True),),
        states=(State(name=state, input="a", output="b", dtype="float32", shape=(size,)),),
        chunk=Chunk(longest=time, exactly=time),
    )


@pytest.mark.parametrize(("fits", "large"), [(spec(FRAME // 8), spec(FRAME // 8 + 1))])
def test_a_step_must_fit_into_a_frame(fits: ModelSpec, large: ModelSpec) -> None:
    check_sizes(fits, FRAME)
    with pytest.raises(ConfigurationError, match=r"a step of 131073 time steps has 1048584 bytes, and 1048576 are the"):
        check_sizes(large, FRAME)


def test_a_context_must_fit_into_a_frame_and_a_state_into_a_graph() -> None:
    check_sizes(spec(1, "x.context", FRAME // 4), FRAME)
    check_sizes(spec(1, "s", FRAME), FRAME)
    with pytest.raises(ConfigurationError, match=r"x\.context has 1048580 bytes in each sequence"):
        check_sizes(spec(1, "x.context", FRAME // 4 + 1), FRAME)
    with pytest.raises(ConfigurationError, match=r"s has 400000000 bytes in each sequence, and 268435456 are the most"):
        check_sizes(spec(1, "s", 10**8), FRAME)


def test_the_server_refuses_a_chunk_that_no_frame_holds_and_names_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "sum" / "1"
    folder.mkdir(parents=True)
    onnx.save(SUM.model, folder / "model.onnx")
    (folder / "model.toml").write_text(
        """
        chunk.exactly = 2147483647
        inputs = [{name = "x", axes = ["batch", "time", 2]}]
        outputs = [{name = "y", axes = ["batch", "time", 2]}]
        states = [{name = "h", input = "h", output = "h_new", axes = [1, "batch", 2]}]
        """
    )
    with pytest.raises(ConfigurationError, match=r"model\.toml: a step of 2147483647 time steps"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    "error", [MemoryError(), OverflowError("too large"), ValueError("no"), ConfigurationError("no")]
)
def test_what_the_libraries_refuse_is_said_of_the_file(error: Exception) -> None:
    with pytest.raises(ConfigurationError, match=r"^model\.toml: "), naming(Path("model.toml")):
        raise error
