"""Tiny untrained models with caches, and what their plain loop is compared with."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from headrace.export.decode import Loop
from headrace.export.start import encoder_of
from headrace.export.trace import to_onnx
from headrace.training.models import Decoder, SequenceModel, Translator

LETTERS, PHONES = "abcde", [".", "X", "Y", "Z"]
Ids = NDArray[np.int64]
Model = TypeVar("Model", bound=SequenceModel)


@cache
def decoder() -> Decoder:
    return strained(Decoder("abcdef", width=16, heads=2, layers=2, longest=40))


@cache
def windowed() -> Decoder:
    return strained(Decoder("abcdef", width=16, heads=2, layers=2, longest=None, window=3))


@cache
def translator() -> Translator:
    return strained(Translator(LETTERS, PHONES, width=16, heads=2, encoder=1, decoder=2, longest=24))


@cache
def decoder_graph() -> onnx.ModelProto:
    return to_onnx(decoder(), decoder().describe("decoder"))


@cache
def windowed_graph() -> onnx.ModelProto:
    return to_onnx(windowed(), windowed().describe("windowed"))


@cache
def translator_graph() -> onnx.ModelProto:
    return to_onnx(translator(), translator().describe("translator"))


@cache
def start_graph() -> onnx.ModelProto:
    return to_onnx(encoder_of(translator()), translator().describe("translator").started())


@cache
def decoder_loop() -> Loop:
    return Loop.of(decoder_graph(), decoder().describe("decoder"))


@cache
def windowed_loop() -> Loop:
    return Loop.of(windowed_graph(), windowed().describe("windowed"))


@cache
def translator_loop() -> Loop:
    return Loop.of(translator_graph(), translator().describe("translator"), start_graph())


def strained(model: Model) -> Model:
    """Weights three times the usual ones: at those, a wrong cache hardly shows."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for weight in model.parameters():
            weight.copy_(3 * torch.randn(weight.shape) / max(weight.shape[-1], 1) ** 0.5)
    return model.eval()
