"""A Vision Transformer: an image is a short sequence of patches."""

from __future__ import annotations

from torch import Tensor, nn

from headrace.spec import Chunk, Input, ModelSpec, Output

from ..ragged import RaggedMean, RaggedPositions, State
from .base import SequenceModel
from .encoder import EncoderLayer


class VisionTransformer(SequenceModel):
    """Patches → linear embedding, learned positions → encoder layers → mean → class (Dosovitskiy et al. 2021).

    The mean over the patches takes the place of a class token (Beyer et al. 2022). A time step is a strip of the image
    as high as a patch, so that an image [height, side] is sent as `image.reshape(-1, patch, side)`.
    """

    def __init__(
        self,
        side: int,
        patch: int,
        levels: int,
        width: int,
        heads: int,
        layers: int,
        labels: list[str],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.patch, self.across, self.levels = patch, side // patch, levels
        self.embed = nn.Linear(patch * patch, width)
        self.places = RaggedPositions()
        self.position = nn.Embedding(self.across**2, width)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.mean = RaggedMean()
        self.head = nn.Linear(width, len(labels))

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [strips, patch, side] of grey levels, whole images → log-probabilities [rows, classes]."""
        strips = x.view(-1, self.patch, self.across, self.patch).transpose(1, 2)  # [strips, across, patch, patch]
        patches, counts = strips.flatten(2).flatten(0, 1), lengths * self.across  # [patches, patch * patch], [rows]
        x = self.embed(patches * (2 / (self.levels - 1)) - 1)  # [patches, width] of grey from -1 to 1
        x = x + self.position(self.places(counts, patches))
        for layer in self.layers:
            x = layer(x, counts)
        return self.head(self.mean(self.norm(x), counts)).log_softmax(-1), state

    def describe(self, name: str) -> ModelSpec:
        classes, strip = (len(self.labels),), (self.patch, self.across * self.patch)
        return ModelSpec(
            name=name,
            task="classify images, one answer for each",
            inputs=(Input(name="strips", dtype="float32", shape=strip),),
            outputs=(Output(name="log_probabilities", dtype="float32", shape=classes, time=False, labels=self.labels),),
            chunk=Chunk(longest=self.across, whole=True),
        )
