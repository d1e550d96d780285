"""What cannot be exported is refused with the layer, the reason and the line, and nothing is published."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from headrace.errors import ConfigurationError
from headrace.export import export_module

from . import zoo

FLOATS = torch.zeros(2, 6, 4)


class Base(nn.Module):
    """A layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 3)


class Twice(Base):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(x)[0] + self.rnn(-x)[0])


class FromTheInput(Base):
    def forward(self, x: Tensor) -> Any:
        begin = x.mean(1)[None].repeat(1, 1, 2)
        return self.head(self.rnn(x, begin)[0])


class Remembers(Base):
    memory: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        y, h = self.rnn(x, self.memory if self.memory is not None and self.memory.shape[1] == x.shape[0] else None)
        self.memory = h.detach()
        return self.head(y)


class Branches(Base):
    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        if y.sum() > 0:
            y = -y
        return self.head(y)


class Counts(Base):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(x)[0]).reshape(len(x), -1, 3)


class Mean(Base):
    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        return self.head(y.mean(1))


class Positions(Base):
    def forward(self, x: Tensor) -> Any:
        x = x + torch.arange(x.size(1))[:, None] / 10
        return self.head(self.rnn(x)[0])


class NeedsAState(Base):
    def forward(self, x: Tensor, hidden: Tensor) -> Any:
        y, hidden = self.rnn(x, hidden)
        return self.head(y), hidden


class Weights(nn.Module):
    """Attention weights have two axes of time."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.attend(x, x, x)


class Greatest(Base):
    """Right by accident: the padding repeats a row's own last step."""

    def forward(self, x: Tensor) -> Any:
        return self.head(x.amax(1).repeat(1, 2))


class Unseen(Base):
    """The mean is there, far below what rounding allows to see."""

    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        return self.head(y + 1e-9 * y.mean(1, keepdim=True))


class Maximum(Base):
    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        return self.head(y.max(1)[0] + x.max(1)[0].repeat(1, 2).cumsum(1))


class Shaped(Base):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(x)[0]) + torch.zeros_like(x[:, 0])[:, None, :3]


class Table(nn.Module):
    """Positions from a table, as in the tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pe", torch.randn(200, 4))
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        x = x + self.get_buffer("pe")[: x.size(1)]  # self.pe[:
        return self.attend(x, x, x)[0]


class Recent(Base):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(x[:, -40:])[0][:, -1])


class Fixed(Base):
    def forward(self, x: Tensor) -> Any:
        if x.shape[1] == 13:
            x = -x
        return self.head(self.rnn(x)[0])


class Shifted(Base):
    """The step before, as decoders take it."""

    def forward(self, x: Tensor) -> Any:
        before = torch.cat([x.new_zeros(x.size(0), 1, 4), x[:, :-1]], 1)
        return self.head(self.rnn(before)[0])


class OwnAttention(Base):
    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        return self.head(F.scaled_dot_product_attention(y, y, y, is_causal=True))


class OwnHeads(Base):
    def forward(self, x: Tensor) -> Any:
        y = self.rnn(x)[0][:, None]
        return self.head(F.scaled_dot_product_attention(y, y, y)[:, 0])


class OverFeatures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.attend = nn.GRU(4, 8, batch_first=True), nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        z = y.reshape(-1, 4, 2)  # [rows * time, 4, 2]
        return self.attend(z, z, z)[0].reshape(y.shape)


class Squeezed(Base):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(x)[1]).squeeze()


class Tail(Base):
    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        return self.head(y[:, -1:]).squeeze(1)


class Softmax(Base):
    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        return self.head(y.softmax(1))


class Flip(Base):
    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x.flip(1))
        return self.head(y)


class Convolution(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.rnn(x)[0])


class Pooling(Base):
    def forward(self, x: Tensor) -> Any:
        y, _ = self.rnn(x)
        weights = y[:, :, :1].softmax(1)
        return self.head((weights.transpose(1, 2) @ y).squeeze(1))


class Shortens(Base):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(x[:, ::2])[0][:, -1])


class OwnLayer(nn.GRU):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:  # type: ignore[override]
        return super().forward(input * 2, hx)


class Numbers(nn.Module):
    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.one_hot(ids, 8).float()


def line(kind: type[nn.Module], code: str) -> str:
    """`file:line` of the first line of a class that has this code."""
    lines, first = inspect.getsourcelines(kind)
    return f"{Path(__file__).name}:{first + next(k for k, text in enumerate(lines) if code in text)}"


def refused(module: nn.Module, example: Any, tmp_path: Path, **options: Any) -> str:
    torch.manual_seed(0)
    with pytest.raises(ConfigurationError) as caught:
        export_module(
            module, example, tmp_path / "models", "refused", quick=True, console=Console(quiet=True), **options
        )
    assert not (tmp_path / "models").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Twice, "rnn: GRU is called 2 times for 5 time steps, so that it has no one state"),
        (FromTheInput, "rnn: its initial state depends on the input, which needs a start graph"),
        (Remembers, "keeps a state on itself between calls (the module: memory)"),
        (Shortens, "rnn: GRU runs over 3 time steps where the input has 5"),
        (lambda: nn.Sequential(nn.Linear(4, 4), OwnLayer(4, 8)), "1: OwnLayer has a forward of its own"),
        (lambda: torch.jit.script(nn.Linear(4, 4)), "the module is scripted"),
        (lambda: zoo.LastStep().double(), "rnn.weight_ih_l0 is torch.float64: call .float()"),
        (NeedsAState, "forward also needs hidden: put it into the example, or, if it is a state, give it None"),
        (Weights, "output y1 is [3, 7, 7] for 3 rows of 7 time steps: it needs one axis of rows"),
        (Counts, "the example's number of rows alone; write x.size(0), not len(x)"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_layers_and_reasons_are_named(make: Callable[[], nn.Module], words: str, tmp_path: Path) -> None:
    assert words in refused(make(), FLOATS, tmp_path)


@pytest.mark.parametrize(
    ("kind", "operator", "code"),
    [
        (Mean, "mean over time", "y.mean(1)"),
        (Tail, "slice over time", "y[:, -1:]"),
        (Positions, "arange over time", "torch.arange(x.size(1))"),
        (Softmax, "softmax over time", "y.softmax(1)"),
        (Flip, "flip over time", "x.flip(1)"),
        (Convolution, "conv1d over time", "self.conv(x"),
        (Pooling, "matmul over time", "@ y"),
    ],
)
def test_what_looks_across_time_is_named_with_the_users_line(
    kind: type[nn.Module], operator: str, code: str, tmp_path: Path
) -> None:
    words = refused(kind(), FLOATS, tmp_path)
    assert "PyTorch differ by" in words and f"{operator} at " in words
    assert line(kind, code) in words


def test_a_stream_in_which_time_steps_meet_is_refused_even_if_nothing_shows(tmp_path: Path) -> None:
    words = refused(Unseen(), FLOATS, tmp_path)
    assert "is a stream" in words and f"{line(Unseen, 'y.mean(1')}" in words and "trust=True" in words
    console = Console(record=True, width=400)
    export_module(Unseen(), FLOATS, tmp_path, "trusted", quick=True, trust=True, console=console)
    assert "mean over time" in (told := console.export_text()) and ": not seen to matter in" in told
    assert "export with whole=True" not in refused(Maximum(), FLOATS, tmp_path, whole=True)


def test_of_operators_with_several_results_the_line_is_told_too(tmp_path: Path) -> None:
    words = refused(Maximum(), FLOATS, tmp_path)
    assert f"max over time at {Path(__file__).parent}" in words and line(Maximum, "y.max(1)") in words


def test_shapes_alone_may_be_taken_of_a_time_step(tmp_path: Path) -> None:
    export_module(Shaped(), FLOATS, tmp_path, "shaped", quick=True, console=Console(quiet=True))


def test_what_only_the_kind_of_padding_makes_right_is_refused(tmp_path: Path) -> None:
    words = refused(Greatest(), FLOATS, tmp_path, whole=True)
    assert "padding reaches the outputs" in words and "with noise in the padding" in words
    assert line(Greatest, "x.amax(1)") in words


def test_control_flow_by_values_is_named_with_the_users_line(tmp_path: Path) -> None:
    words = refused(Branches(), FLOATS, tmp_path)
    assert "cannot be traced" in words and line(Branches, "if y.sum() > 0") in words


@pytest.mark.parametrize(
    ("kind", "longest", "words", "code"),
    [
        (Table, 512, "it works for 200 time steps, not for the 512 of a step: give longest=200", "self.pe[:"),
        (Recent, 512, "it works for 39 time steps", "x[:, -40:]"),
        (Fixed, 512, "it works for the example's number of time alone", "x.shape[1] == 13"),
    ],
)
def test_for_which_lengths_a_module_works_is_told_with_the_line(
    kind: type[nn.Module], longest: int, words: str, code: str, tmp_path: Path
) -> None:
    told = refused(kind(), FLOATS, tmp_path, longest=longest, whole=True)
    assert words in told and line(kind, code) in told and "TORCH" not in told


def test_what_an_operator_lacks_is_told_without_the_exporters_advice(tmp_path: Path) -> None:
    told = refused(OwnAttention(), FLOATS, tmp_path)
    assert (
        "scaled_dot_product_attention has no ONNX form here: only 4D query" in told
        and line(OwnAttention, "F.s") in told
    )
    assert "submit" not in told and "\x1b" not in told
    told = refused(OwnHeads(), FLOATS, tmp_path, whole=True)
    assert "PyTorch differ" in told and "scaled_dot_product_attention over time at" in told


def test_shifts_and_axes_of_features_are_no_conditions_on_time(tmp_path: Path) -> None:
    quiet: dict[str, Any] = {"quick": True, "console": Console(quiet=True)}
    export_module(Table(), FLOATS, tmp_path, "table", longest=200, **quiet)
    export_module(OverFeatures(), FLOATS, tmp_path, "features", **quiet)
    export_module(Shifted(), FLOATS, tmp_path, "shifted", whole=True, **quiet)
    assert line(Shifted, "x[:, :-1]") in refused(Shifted(), FLOATS, tmp_path / "streamed")


def test_integers_need_a_vocabulary(tmp_path: Path) -> None:
    ids = torch.zeros(2, 3, dtype=torch.int64)
    assert "input ids has integers that no nn.Embedding is seen to take" in refused(Numbers(), ids, tmp_path)
    module = nn.Sequential(Numbers(), nn.GRU(8, 8, batch_first=True))
    export_module(module, ids, tmp_path, "numbers", quick=True, vocabulary={"input": 8}, console=Console(quiet=True))


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (torch.zeros(2, 6, 4, dtype=torch.float64), "float32 or int64; x"),
        (torch.zeros(6), "[rows, time, ...]"),
        ((), "the example holds no tensors"),
        ((FLOATS, torch.zeros(2, 5, 4)), "differ in rows or time"),
        ({"x": FLOATS, "z": FLOATS}, "the example names z, forward takes x"),
        (torch.zeros(2, 6, 5), "cannot be run (RuntimeError)"),
    ],
)
def test_examples_that_do_not_fit_are_refused(example: Any, words: str, tmp_path: Path) -> None:
    assert words in refused(zoo.LastStep(), example, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"opset": 99}, "opset 99 cannot be written; choose one from 20"),
        ({"longest": 0}, "longest is 0; a step carries one time step at least"),
        ({"name": "my model"}, "'my model' cannot be a model's name: use letters, digits, '.', '_' and '-'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_the_door(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    given = {"name": "refused", "models": tmp_path, "console": Console(quiet=True)} | options
    with pytest.raises(ConfigurationError) as caught:
        export_module(zoo.LastStep(), FLOATS, **given)
    assert str(caught.value).startswith(words)


def test_a_lone_row_must_keep_its_axis(tmp_path: Path) -> None:
    assert "time steps is [3], not [1, 3]; name the axes" in refused(Squeezed(), FLOATS, tmp_path)


def test_cells_are_stepped_not_taken_whole(tmp_path: Path) -> None:
    assert "loops over cells" in refused(zoo.Cells(), FLOATS, tmp_path, whole=True)
