"""The one training loop: AdamW, clipped gradients, early stopping, and a checkpoint after every epoch.

For tasks that carry state it is truncated back-propagation through time (Williams and Peng 1990): the state goes on
from batch to batch, the gradient does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from . import checkpoint
from .checkpoint import Content
from .models import SequenceModel, build
from .ragged import State
from .task import Batch, Budget, Task

Clock = Callable[[], float]
"""Seconds from any start; never runs backwards."""

Report = Callable[[float, str], None]
"""Told, at every batch, the share of the budget that is used and in a few words how it goes."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Mean training loss and the loss on the selection slice after it."""

    train: float
    selection: float


class Run:
    """One seed's training. All that changes is here: `checkpoint` says what, `epoch` changes it."""

    def __init__(self, task: Task, budget: Budget, seed: int, clock: Clock, report: Report) -> None:
        torch.manual_seed(seed)
        self._task, self._budget, self._clock, self._report = task, budget, clock, report
        self.seed = seed
        self.identity = {"task": task.name, "model": task.config, "budget": asdict(budget), "seed": seed}
        self.model = build(task.config)
        task.fit_inputs(self.model)
        self._optimiser = torch.optim.AdamW(self.model.parameters(), budget.rate, weight_decay=budget.decay)
        self.history: list[Epoch] = []
        self.best = _weights(self.model)
        self.spent = 0.0  # seconds in epochs, over all resumptions

    @property
    def best_loss(self) -> float:
        """The lowest loss on the selection slice so far."""
        return min((e.selection for e in self.history), default=math.inf)

    @property
    def done(self) -> bool:
        """Whether the budget is used up or nothing got better for `patience` epochs."""
        losses = [e.selection for e in self.history]
        stale = len(losses) - 1 - losses.index(self.best_loss) if losses else 0
        return self.used(0.0) >= 1 or stale >= self._budget.patience

    def used(self, elapsed: float) -> float:
        """The share of the budget that is used: of epochs or of seconds (`elapsed` of them in this epoch), 0 to 1."""
        by_epochs = len(self.history) / self._budget.epochs
        by_seconds = (self.spent + elapsed) / self._budget.seconds if self._budget.seconds else 0.0
        return min(1.0, max(by_epochs, by_seconds))

    def epoch(self) -> None:
        """Trains on one epoch's batches, or as many as the seconds allow; keeps the weights if they are the best."""
        began = self._clock()
        train = self._train(lambda: self._clock() - began)
        self.model.eval()
        selection = self._task.select(self.model)
        if selection < self.best_loss:
            self.best = _weights(self.model)
        # A loss that is no number is never the best, and no number compares with it.
        self.history.append(Epoch(train, math.inf if math.isnan(selection) else selection))
        self.spent += self._clock() - began

    def _train(self, elapsed: Clock) -> float:
        self.model.train()
        losses: list[float] = []
        state: State | None = None
        for batch in self._task.batches(len(self.history)):
            used = self.used(elapsed())
            self._report(used, self._how())
            if used >= 1:
                break
            loss, state = self._update(batch, state, used)
            losses.append(loss)
        return sum(losses) / len(losses) if losses else math.nan

    def _update(self, batch: Batch, state: State | None, used: float) -> tuple[float, State]:
        """One step of the optimiser; `state` is that after the batch before."""
        if state is None or not self._task.carried:
            state = self._task.start(self.model, batch)
        for group in self._optimiser.param_groups:
            group["lr"] = self._budget.rate * (1 + math.cos(math.pi * used)) / 2
        y, state = self.model(batch.x, batch.lengths, state)
        loss = self._task.loss(y, batch)  # []
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self._budget.clip)
        self._optimiser.step()
        return loss.item(), {name: s.detach() for name, s in state.items()}

    def _how(self) -> str:
        losses = [f"loss {e.train:.3f}, selection {e.selection:.3f}" for e in self.history[-1:]]
        return ": ".join([f"epoch {len(self.history) + 1}", *losses])

    def checkpoint(self) -> Content:
        """All that a run needs to go on as if it had never stopped."""
        return {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "history": [(e.train, e.selection) for e in self.history],
            "best": self.best,
            "spent": self.spent,
        }

    def restore(self, content: Content) -> None:
        """Goes on from `content`, which `checkpoint` of a run with the same identity gave."""
        self.model.load_state_dict(content["model"])
        self._optimiser.load_state_dict(content["optimiser"])
        torch.set_rng_state(content["random"])
        self.history = [Epoch(*losses) for losses in content["history"]]
        self.best, self.spent = content["best"], content["spent"]


def fit(task: Task, budget: Budget, seed: int, path: Path, *, resume: bool, clock: Clock, report: Report) -> Run:
    """Trains `task`, or goes on from the checkpoint at `path`; at the end the model has its best weights.

    Raises ConfigurationError if `path` is a checkpoint of something else.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's generator stays as it was
        run = Run(task, budget, seed, clock, report)
        if resume and path.exists():
            run.restore(checkpoint.expect(path, run.identity))
        while not run.done:
            run.epoch()
            checkpoint.write(path, run.checkpoint())
    run.model.load_state_dict(run.best)
    run.model.eval()
    return run


def _weights(model: SequenceModel) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}
