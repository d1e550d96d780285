"""The named tasks: which model on which data, for how long, and what it must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.errors import ConfigurationError

from .classify import Classify
from .data import captions, cmudict, digits, kjv, vowels
from .drawing import Drawing
from .forecast import Density, Forecast
from .images import Images
from .language import Language
from .models import Config
from .pronounce import SYMBOLS, Pronounce
from .task import Budget, Task
from .windows import Windows


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a task is trained.

    make:  name → the task, with its data loaded
    full:  budget of a run whose score is held against the gate, for each of `seeds` seeds
    quick: budget of one seed where time is short
    gate:  what the median over the seeds must reach
    """

    make: Callable[[str], Task]
    full: Budget
    quick: Budget
    seeds: int
    gate: float


def recipe(name: str) -> Recipe:
    """Raises ConfigurationError, listing the tasks, if there is none of that name."""
    found = RECIPES.get(name)
    if found is None:
        raise ConfigurationError(f"unknown task {name!r}; there are {', '.join(RECIPES)}")
    return found


def _recurrent(kind: str, **options: bool) -> Callable[[str], Task]:
    sizes = {"hidden": 64, "layers": 1, "dropout": 0.2}
    return _vowels({"architecture": "recurrent-classifier", "kind": kind, **sizes, **options})


def _encoder() -> Callable[[str], Task]:
    return _vowels({"architecture": "encoder-classifier", "width": 64, "heads": 4, "layers": 2, "dropout": 0.1})


def _vowels(config: Config) -> Callable[[str], Task]:
    config = {**config, "features": vowels.CHANNELS, "labels": list(vowels.LABELS)}
    return lambda name: Classify(name, config, vowels.load("TRAIN"), vowels.load("TEST"))


def _vision(name: str) -> Task:
    sizes = {"side": digits.SIDE, "patch": 2, "levels": digits.LEVELS, "width": 64, "heads": 4, "layers": 2}
    config = {"architecture": "vision-transformer", **sizes, "labels": list(digits.LABELS), "dropout": 0.1}
    return Images(name, config, digits.load("TRAIN"), digits.load("TEST"))


def _autoregressive(order: int, gate: float) -> Recipe:
    """Solved before the first epoch: at a rate of zero that one only measures it."""
    config: Config = {"architecture": "autoregressive-forecaster", "order": order}
    solved = Budget(1, 1, rate=0.0)
    return Recipe(lambda name: Forecast(name, config), solved, solved, seeds=1, gate=gate)


def _latent(name: str) -> Task:
    return Forecast(name, {"architecture": "latent-forecaster", "kind": "gru", "hidden": 16, "dropout": 0.2})


def _mixture(name: str) -> Task:
    return Density(name, {"architecture": "mixture-forecaster", "hidden": 16, "components": 3, "dropout": 0.2})


def _language(name: str) -> Task:
    corpus = kjv.corpus(kjv.load())
    config = {"architecture": "character-model", "symbols": corpus.symbols, "width": 64, "hidden": 256}
    return Language(name, config, corpus)


def _decoder(name: str) -> Task:
    """A window is as long as the model's longest sequence, so that all its positions are trained."""
    corpus = kjv.corpus(kjv.load())
    sizes = {"width": 128, "heads": 4, "layers": 4, "longest": 256}
    return Windows(name, {"architecture": "decoder", "symbols": corpus.symbols, **sizes}, corpus, sizes["longest"])


def _captions(name: str) -> Task:
    sizes = {"width": 128, "heads": 4, "layers": 3, "longest": captions.LONGEST, "dropout": 0.1}
    told = {"symbols": captions.SYMBOLS, "task": "draw a digit as its caption says"}
    return Drawing(name, {"architecture": "decoder", **told, **sizes}, digits.load("TRAIN"))


def _pronounce(name: str) -> Task:
    sizes = {"width": 128, "heads": 4, "encoder": 3, "decoder": 2, "longest": 32}
    config = {"architecture": "translator", "source": cmudict.LETTERS, "symbols": list(SYMBOLS), **sizes}
    return Pronounce(name, config, cmudict.split(cmudict.load()))


def _classifier(make: Callable[[str], Task], rate: float) -> Recipe:
    return Recipe(make, Budget(60, 20, rate), Budget(25, 20, rate), seeds=3, gate=0.92)


#: By the name of the task, which is also the model's.
RECIPES = {
    "vowels-gru": _classifier(_recurrent("gru"), 4e-3),
    "vowels-lstm": _classifier(_recurrent("lstm"), 4e-3),
    "vowels-rnn": _classifier(_recurrent("rnn"), 4e-3),
    "vowels-encoder": _classifier(_encoder(), 1e-3),
    "vowels-bilstm": _classifier(_recurrent("lstm", bidirectional=True), 4e-3),
    "sunspots-markov": _autoregressive(1, gate=24.5),
    "sunspots-ar": _autoregressive(9, gate=14.5),
    "sunspots-latent": Recipe(_latent, Budget(60, 20, 5e-3), Budget(30, 20, 5e-3), seeds=3, gate=14.5),
    "sunspots-mixture": Recipe(_mixture, Budget(60, 20, 5e-3), Budget(30, 20, 5e-3), seeds=3, gate=4.04),
    "digits-vit": Recipe(
        _vision, Budget(60, 30, 2e-3, decay=0.05), Budget(15, 20, 2e-3, decay=0.05), seeds=3, gate=0.97
    ),
    # The text is never learnt by heart in these times: seconds end the run, not epochs.
    "kjv-gru": Recipe(
        _language,
        full=Budget(400, 8, 8e-3, seconds=130),
        quick=Budget(400, 8, 8e-3, seconds=34),
        seeds=1,
        gate=2.1,
    ),
    "g2p": Recipe(
        _pronounce,
        full=Budget(400, 400, 2e-3, seconds=1200),
        quick=Budget(400, 400, 2e-3, seconds=60),
        seeds=1,
        gate=0.35,
    ),
    "kjv-gpt": Recipe(
        _decoder,
        full=Budget(400, 400, 2e-3, seconds=600),
        quick=Budget(400, 400, 2e-3, seconds=60),
        seeds=1,
        gate=2.0,
    ),
    "captions": Recipe(
        _captions,
        full=Budget(400, 12, 2e-3, seconds=600),
        quick=Budget(400, 12, 2e-3, seconds=60),
        seeds=1,
        gate=0.85,
    ),
}
