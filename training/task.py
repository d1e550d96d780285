"""What the training loop needs of a task: its model, its batches, its loss, and two separate judgements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from headrace.spec import Score

from .models import Config, SequenceModel
from .ragged import State


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed steps of many rows: x [tokens, ...], lengths [rows], targets [tokens] or [rows]."""

    x: Tensor
    lengths: Tensor
    targets: Tensor


@dataclass(frozen=True, slots=True)
class Budget:
    """How long and how fast to train.

    epochs:   at most so many
    patience: epochs without a better selection loss before stopping
    rate:     learning rate at the start; it falls to zero along a cosine over the budget (Loshchilov and Hutter 2017)
    decay:    weight decay, decoupled (Loshchilov and Hutter 2019)
    clip:     largest norm of the gradient (Pascanu et al. 2013)
    seconds:  wall-clock limit; None leaves a run that depends on its seed alone
    """

    epochs: int
    patience: int
    rate: float
    decay: float = 0.01
    clip: float = 1.0
    seconds: float | None = None


class Task(ABC):
    """One model to be trained on one set of data.

    name:    also the model's, when it is exported
    config:  builds the model, see `models.build`
    carried: whether each batch of an epoch goes on where the one before ended, row by row
    """

    name: str
    config: Config
    carried: bool = False

    @abstractmethod
    def fit_inputs(self, model: SequenceModel) -> None:
        """Measures on the training part what the model wants to know of its inputs, before the first epoch."""

    def start(self, model: SequenceModel, batch: Batch) -> State:
        """The state that `batch` begins with: that of fresh sequences, unless the task knows of something before."""
        return model.initial_state(len(batch.lengths))

    @abstractmethod
    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch of the training part; draws from torch's generator only."""

    @abstractmethod
    def loss(self, y: Any, batch: Batch) -> Tensor:
        """The loss [] of the model's output for `batch`: a tensor, or a tuple where the model has several outputs."""

    @abstractmethod
    def select(self, model: SequenceModel) -> float:
        """The loss on the slice of the training part that is kept for early stopping; lower is better."""

    @abstractmethod
    def score(self, model: SequenceModel) -> Score:
        """The figure on the scored part; never called while anything can still be chosen by it."""

    def also(self, model: SequenceModel) -> Sequence[Score]:
        """Further figures on the scored part, beside the one that the gate is for; by default none."""
        return ()
