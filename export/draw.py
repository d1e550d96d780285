"""Pictures from captions, by an exported model of the task `captions` and a plain loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headrace.errors import InvalidInput
from headrace.training.data import captions
from headrace.training.data.digits import LEVELS
from headrace.training.drawing import TEMPERATURE

from .decode import Loop, drawn, generate

GREYS = captions.FIRST + np.arange(LEVELS)
"""Ids of the letters that a picture is written with."""


def draw(loop: Loop, caption: str, seed: int = 0, temperature: float = TEMPERATURE) -> NDArray[np.int64]:
    """A picture [8, 8] of greys from 0 (paper) to 16 (ink); another one for each seed.

    Raises InvalidInput for a caption with letters that the model does not know, or too long a one.
    """
    prompt = _prompt(caption)
    choose = drawn(np.random.default_rng(seed), GREYS, temperature)
    (pixels,) = generate(loop.open(1), [prompt], captions.PIXELS, choose)
    return captions.seen("".join(captions.SYMBOLS[k] for k in pixels))


def draw_png(loop: Loop, caption: str, path: Path, seed: int = 0) -> None:
    """Writes the picture as a PNG, its caption above. Raises InvalidInput as `draw`."""
    picture = draw(loop, caption, seed)
    figure = Figure(figsize=(2.4, 2.7), layout="constrained")
    axes = figure.add_subplot(title=caption)
    axes.imshow(picture, cmap="gray_r", vmin=0, vmax=LEVELS - 1)
    axes.set_axis_off()
    figure.savefig(path, dpi=100)


def _prompt(caption: str) -> NDArray[np.int64]:
    told, most = caption.strip().lower(), captions.LONGEST - captions.PIXELS - 1
    unknown = sorted(set(told) - set(captions.CAPTION_LETTERS))
    if unknown or not told or len(told) > most:
        raise InvalidInput(
            f"a caption has 1 to {most} letters, digits and spaces, like 'the digit seven', not {caption!r}"
        )
    return np.array(captions.ids(told + captions.END), np.int64)
