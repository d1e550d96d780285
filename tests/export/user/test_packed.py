"""Stock attention layers inside a user's module run on packed tokens, or padded where that cannot be proved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.export import export_module
from headrace.export.controls import strained
from headrace.export.groups import GROUPS
from headrace.export.parity import TOLERANCE
from headrace.export.runners import eager, runtime
from headrace.export.streams import Batch, alone, drive, whole
from headrace.export.user.example import read
from headrace.export.user.module import Alone
from headrace.export.user.noise import with_noise
from headrace.export.user.packed import Reasons, by_token, hooked, reason
from headrace.export.user.plan import Plan, Wishes, plan
from headrace.export.user.trace import Traced, to_onnx

FLOATS = torch.zeros(2, 6, 4)
WIDTH = 8


class Stack(nn.Module):
    """Embedding, positions, encoder, a mean over the real steps. hide: some steps of every row are masked."""

    def __init__(
        self,
        layer: nn.Module,
        norm: nn.Module | None = None,
        mask: Any = None,
        causal: bool = False,
        hide: bool = False,
    ) -> None:
        super().__init__()
        self.embed, self.place, self.head = nn.Linear(4, WIDTH), nn.Embedding(64, WIDTH), nn.Linear(WIDTH, 3)
        self.encoder = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)  # type: ignore[arg-type]
        self.mask, self.causal, self.hide = mask, causal, hide

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        at = torch.arange(x.size(1))
        padding = at >= lengths[:, None]  # [rows, time]
        first: bool = self.encoder.layers[0].self_attn.batch_first  # type: ignore[union-attr, assignment]
        hidden = padding | ((x[..., 0] > 1) & (at > 0)) if self.hide else None
        y = self.embed(x) + self.place(at)  # [rows, time, width]
        mask = self.mask(at) if self.mask else None
        y = self.encoder(y if first else y.transpose(0, 1), mask, src_key_padding_mask=hidden, is_causal=self.causal)
        y = y if first else y.transpose(0, 1)
        return self.head(y.masked_fill(padding[..., None], 0).sum(1) / lengths[:, None])


def later(at: Tensor) -> Tensor:
    """[time, time] whether a key stands behind the query."""
    return at > at[:, None]


def distant(at: Tensor) -> Tensor:
    """[time, time] the farther, the less weight (Press et al. 2022)."""
    return -0.3 * (at - at[:, None]).abs().float()


def layer(**options: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(WIDTH, 2, 16, **options)


class Loop(nn.Module):
    """The layers one by one, and attention by itself, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend = nn.Linear(4, WIDTH), nn.MultiheadAttention(WIDTH, 2)
        self.layers = nn.ModuleList(layer(bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x.transpose(0, 1))
        for part in self.layers:
            y = part(y)
        y = self.attend(y, y, y)[0]
        return y.transpose(0, 1)


@dataclass(frozen=True, slots=True)
class Exported:
    module: nn.Module
    plan: Plan
    traced: Traced

    def error(self, truth: nn.Module | None = None) -> float:
        """Against a module, each of its rows alone, with other rows' tokens for padding: relative to the largest."""
        model, spec = Alone(truth or self.module, self.plan).eval(), self.plan.spec
        batch = Batch({"x": np.random.default_rng(0).standard_normal((31, 4), np.float32)}, np.array([9, 1, 16, 5]))
        got = drive(runtime(with_noise(self.traced.graph, spec)), spec, batch, whole)
        want = drive(eager(model, spec), spec, batch, alone)
        pairs = [(got[name].astype(np.float64), want[name].astype(np.float64)) for name in want]
        return float(max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs))

    @property
    def nodes(self) -> Counter[str]:
        """How many there are of each operator. A linear layer on packed tokens is a Gemm, on padded ones it is none."""
        return Counter(node.op_type for node in self.traced.graph.graph.node)


def exported(module: nn.Module) -> Exported:
    module = module.eval()
    call, tensors = read(module, FLOATS, False)
    found = plan(module, call, tensors, Wishes("packed", longest=64))
    return Exported(module, found, to_onnx(module, found))


def causal() -> Stack:
    first = layer(norm_first=True, batch_first=True, activation="gelu", bias=False)
    return Stack(first, nn.LayerNorm(WIDTH), mask=later, causal=True)


PACKED: dict[str, Callable[[], nn.Module]] = {
    "norms behind, time first, hidden keys": lambda: Stack(layer(), hide=True),
    "norms first and behind, rows first, gelu, no bias, causal": causal,
    "a module as activation, causal and hidden keys": lambda: Stack(layer(activation=nn.SiLU()), mask=later, hide=True),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_stack_runs_on_packed_tokens(name: str) -> None:
    torch.manual_seed(0)
    module = PACKED[name]().eval()
    with strained(module, 2.0):
        one = exported(module)
        assert one.error() < TOLERANCE
    assert not one.traced.padded and not any("encoder" in str(suspect) for suspect in one.traced.suspects)
    assert one.nodes["Gemm"] == 2 * 4 + 1  # in, out, and two of the feed-forward block; the head


def test_layers_one_by_one_stay_packed_between_them() -> None:
    torch.manual_seed(0)
    one = exported(Loop())
    assert one.error() < TOLERANCE and not one.traced.padded
    assert one.nodes["Gemm"] == 2 * 4 + 2
    # Of each of three attentions the queries, keys and values by groups, and the answer; the module's input, and its
    # first unpad; what the maps need. Nothing between the layers.
    maps = 2 * GROUPS + 3
    assert one.nodes["Gather"] == 3 * (3 * GROUPS + 1) + 2 + maps


def test_another_modules_answers_are_told_apart() -> None:
    """Controls: a mask forgotten, a weight changed."""
    torch.manual_seed(0)
    module, plain = causal().eval(), causal().eval()
    plain.load_state_dict(module.state_dict())
    plain.mask, plain.causal = None, False
    one = exported(module)
    assert one.error() < TOLERANCE and one.error(plain) > 100 * TOLERANCE
    with torch.no_grad():
        module.get_parameter("encoder.layers.1.self_attn.in_proj_weight").mul_(1.2)
    assert one.error() > 100 * TOLERANCE


class OwnForward(nn.TransformerEncoderLayer):
    def forward(self, src: Tensor, *given: Any, **named: Any) -> Tensor:
        return super().forward(src, *given, **named) + src


class OwnBlock(nn.TransformerEncoderLayer):
    def _ff_block(self, x: Tensor) -> Tensor:
        return super()._ff_block(x) + x


class OverTime(nn.Module):
    """An activation that looks at the whole row, if there is one."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() * x.softmax(-2)


class NormOverTime(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - x.mean(-2, keepdim=True)


def changed(change: Callable[[nn.TransformerEncoderLayer], None]) -> nn.TransformerEncoderLayer:
    made = layer(batch_first=True)
    change(made)
    return made


def noting(part: nn.TransformerEncoderLayer) -> None:
    part.self_attn.register_forward_hook(lambda module, given, output: None)


def adding(part: nn.TransformerEncoderLayer) -> None:
    part.self_attn = nn.MultiheadAttention(WIDTH, 2, add_zero_attn=True, batch_first=True)


def spreading(part: nn.TransformerEncoderLayer) -> None:
    part.norm2 = NormOverTime(WIDTH)


PADDED = {
    "it has a forward of its own": lambda: OwnForward(WIDTH, 2, 16, batch_first=True),
    "it has a block of its own": lambda: OwnBlock(WIDTH, 2, 16, batch_first=True),
    "its attention has hooks": lambda: changed(noting),
    "its attention adds a key to each row": lambda: changed(adding),
    "its feed-forward block does not act on each token by itself": lambda: layer(activation=OverTime()),
    "its norm2 does not act on each token by itself": lambda: changed(spreading),
}


@pytest.mark.parametrize("why", PADDED)
def test_what_is_not_proved_to_be_stock_is_not_packed(why: str) -> None:
    module = Stack(PADDED[why]())
    assert reason(module.eval().encoder) == f"in its layer 0, {why}"


def test_a_stack_that_runs_padded_says_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    console, module = Console(record=True, width=300), Stack(OwnForward(WIDTH, 2, 16, batch_first=True))
    path = export_module(module, FLOATS, tmp_path, "own", quick=True, longest=64, console=console)
    line = "encoder runs on padded rows: in its layer 0, it has a forward of its own"
    assert line in console.export_text() and f"- {line}" in (path.parent / "report.md").read_text()


class Within(nn.Module):
    """The four features of a time step look at each other; no two time steps do."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(1, WIDTH), nn.Linear(WIDTH, 3)
        self.encoder = nn.TransformerEncoder(layer(batch_first=True), 1, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.encoder(self.embed(x.flatten(0, 1)[..., None]))  # [rows * time, 4, width]
        return self.head(y.mean(1)).unflatten(0, x.shape[:2])  # type: ignore[no-any-return]


def test_a_stack_over_other_axes_than_time_runs_as_it_is() -> None:
    torch.manual_seed(0)
    one = exported(Within())
    assert one.error() < TOLERANCE
    (line,) = one.traced.padded
    assert line.startswith("encoder runs on padded rows: it is called with other tensors")


class Weighing(nn.Module):
    """Each head of each row has a mask of its own, which is added, and the weights are an answer too."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        at = torch.arange(x.size(1))
        mask = torch.stack([distant(at), 3 * distant(at)]).repeat(x.size(0), 1, 1)  # [rows * heads, time, time]
        y, weights = self.attend(x, x, x, attn_mask=mask)  # [rows, time, width], [rows, time, time]
        return y, weights.diagonal(dim1=1, dim2=2)


def test_attention_alone_keeps_its_masks_and_its_weights() -> None:
    torch.manual_seed(0)
    one = exported(Weighing())
    assert one.error() < TOLERANCE and not one.traced.padded and one.nodes["Gemm"] == 2


def test_hooks_of_a_layer_keep_a_stack_as_it_is() -> None:
    stack = nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False).eval()
    assert not reason(stack)
    stack.layers[1].register_forward_pre_hook(lambda module, given: None)
    assert hooked(stack.layers[1]) and reason(stack) == "its layer 1 has hooks"


def test_parts_that_need_three_axes_do_not_act_on_tokens() -> None:
    assert by_token(nn.LayerNorm(4), 4) and by_token(nn.RMSNorm(4), 4)
    assert not by_token(lambda x: x - x.mean(0), 4) and not by_token(lambda x: x.cumsum(1), 4)
    assert not by_token(nn.BatchNorm1d(4), 4)


def test_a_layer_inside_of_one_that_is_told_is_not_told() -> None:
    told = Reasons({"a": "why", "a.layers.0": "why", "b": "", "ab": "so"}).lines()
    assert told == ("a runs on padded rows: why", "ab runs on padded rows: so")
