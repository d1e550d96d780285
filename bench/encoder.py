"""The reference encoder of the measurements, 4 layers of 256, untrained; and its weights as a plain padded graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.export import export_model
from headrace.export.trace import quiet
from headrace.training.models import EncoderClassifier


@dataclass(frozen=True, slots=True)
class Size:
    layers: int = 4
    width: int = 256
    heads: int = 4
    features: int = 64
    classes: int = 10

    @property
    def name(self) -> str:
        return f"encoder-{self.layers}x{self.width}"


REFERENCE = Size()


def encoder(size: Size = REFERENCE) -> EncoderClassifier:
    """The same weights every time."""
    torch.manual_seed(0)
    labels = [str(n) for n in range(size.classes)]
    return EncoderClassifier(size.features, size.width, size.heads, size.layers, labels).eval()


def packed_graph(models: Path, size: Size = REFERENCE) -> Path:
    """`models/NAME/1/model.onnx`, made if it is not there: packed rows, as they are served."""
    file = models / size.name / "1" / "model.onnx"
    if not file.exists():
        model = encoder(size)
        export_model(model, model.describe(size.name), models, version="1", quick=True, console=Console(quiet=True))
    return file


def padded_graph(folder: Path, size: Size = REFERENCE) -> Path:
    """`folder/NAME-padded.onnx`, made if it is not there: `values` [rows, time, features] and `mask` [rows, time] bool,
    by torch's own exporter and nothing of ours."""
    file = folder / f"{size.name}-padded.onnx"
    if not file.exists():
        model = Padded(encoder(size), size).eval()
        values, mask = torch.randn(3, 9, size.features), torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
        axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        with quiet():
            program = torch.onnx.export(
                model,
                (values, mask),
                dynamo=True,
                dynamic_shapes=(axes, axes),
                input_names=["values", "mask"],
                output_names=["log_probabilities"],
                verbose=False,
            )
        assert program is not None
        file.parent.mkdir(parents=True, exist_ok=True)
        program.save(file)
    return file


class Padded(nn.Module):
    """As anybody would write it: `nn.TransformerEncoder` with a key padding mask, all layers on padded rows."""

    def __init__(self, model: EncoderClassifier, size: Size) -> None:
        super().__init__()
        self.model = model
        layer = nn.TransformerEncoderLayer(
            size.width, size.heads, 4 * size.width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, size.layers, enable_nested_tensor=False)
        for ours, theirs in zip(model.layers, self.encoder.layers, strict=True):
            theirs.load_state_dict(_renamed(ours))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """values [rows, time, features], mask [rows, time] true at time steps → log-probabilities [rows, classes]."""
        model = self.model
        x = model.embed(model.standardise(values))  # [rows, time, width]
        angles = torch.arange(values.shape[1])[:, None] * model.positions.frequencies  # [time, width / 2]
        x = x + torch.cat([angles.sin(), angles.cos()], -1)
        x = model.norm(self.encoder(x, src_key_padding_mask=~mask))
        held = mask.to(x.dtype)[..., None]  # [rows, time, 1]
        y: Tensor = model.head((x * held).sum(1) / held.sum(1)).log_softmax(-1)
        return y


def _renamed(layer: nn.Module) -> dict[str, Tensor]:
    """The weights of one of our layers by the names of torch's own."""
    names = {
        "norm_attention.": "norm1.",
        "norm_forward.": "norm2.",
        "project_in.": "self_attn.in_proj_",
        "project_out.": "self_attn.out_proj.",
        "feed.0.": "linear1.",
        "feed.2.": "linear2.",
    }
    weights = layer.state_dict()
    return {name.replace(a, b): w for name, w in weights.items() for a, b in names.items() if name.startswith(a)}
