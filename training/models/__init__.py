"""The project's own models; each is one `SequenceModel`, built from a plain dictionary that a checkpoint can hold."""

from __future__ import annotations

from typing import Any

from headrace.errors import ConfigurationError

from .base import SequenceModel
from .characters import CharacterModel
from .decoder import Decoder
from .encoder import EncoderClassifier
from .forecasters import AutoregressiveForecaster, Forecaster, LatentForecaster, MixtureForecaster
from .recurrent import RecurrentClassifier
from .translator import Translator
from .vision import VisionTransformer

Config = dict[str, Any]
"""The constructor's arguments, plain values only, and under "architecture" which model it is."""

ARCHITECTURES: dict[str, type[SequenceModel]] = {
    "recurrent-classifier": RecurrentClassifier,
    "encoder-classifier": EncoderClassifier,
    "character-model": CharacterModel,
    "decoder": Decoder,
    "translator": Translator,
    "autoregressive-forecaster": AutoregressiveForecaster,
    "latent-forecaster": LatentForecaster,
    "mixture-forecaster": MixtureForecaster,
    "vision-transformer": VisionTransformer,
}

__all__ = [
    "ARCHITECTURES",
    "AutoregressiveForecaster",
    "CharacterModel",
    "Config",
    "Decoder",
    "EncoderClassifier",
    "Forecaster",
    "LatentForecaster",
    "MixtureForecaster",
    "RecurrentClassifier",
    "SequenceModel",
    "Translator",
    "VisionTransformer",
    "build",
]


def build(config: Config) -> SequenceModel:
    """A fresh model. Raises ConfigurationError if there is no such architecture or it does not take these arguments."""
    if not isinstance(config, dict):
        raise ConfigurationError(f"a model is built from a dictionary, not from {config!r}")
    arguments = {key: value for key, value in config.items() if key != "architecture"}
    architecture = ARCHITECTURES.get(config.get("architecture", ""))
    if architecture is None:
        raise ConfigurationError(
            f"unknown architecture {config.get('architecture')!r}; there are {', '.join(ARCHITECTURES)}"
        )
    try:
        return architecture(**arguments)
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{config['architecture']} cannot be built from this checkpoint: {error}") from error
