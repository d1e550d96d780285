"""Models that forecast the next value of a series from all before it, in the units of the series."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from headrace.spec import Chunk, Input, ModelSpec, Output, State

from ..ragged import RaggedPositions, RaggedRNN
from ..ragged import State as States
from .base import SequenceModel, carried
from .draws import Draws
from .parts import RaggedWindow, Standardise
from .recurrent import recurrent

LONGEST = 1024

#: A deviation is at least so many of the series' own, since one of zero makes a single value infinitely likely.
SHARPEST = 0.02


class Forecaster(SequenceModel):
    """Values [tokens] in → after each, what the next one will be."""

    @abstractmethod
    def fit(self, series: Tensor) -> None:
        """Measures on a series [time] of the training part what needs no gradient."""

    def _describe(self, name: str, outputs: tuple[Output, ...], states: tuple[State, ...]) -> ModelSpec:
        return ModelSpec(
            name=name,
            task="forecast the next value, after every value",
            inputs=(Input(name="values", dtype="float32"),),
            outputs=outputs,
            states=states,
            chunk=Chunk(longest=LONGEST),
        )


class AutoregressiveForecaster(Forecaster):
    """AR(order), Yule 1927: x̂[t+1] = c + a₁ x[t] + … + aₚ x[t+1-p].

    Its state is the window: the p - 1 values that the next forecast needs beside the new one. A fresh one holds the
    mean of the training part. Of the first order it is a Markov model: given the present value the past says nothing
    more, so there is no state.
    """

    mean: Tensor

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order
        self.window = RaggedWindow(order)
        self.filter = nn.Linear(order, 1)  # the oldest value first
        self.register_buffer("mean", torch.zeros(()))

    def fit(self, series: Tensor) -> None:
        """Least squares over every window of the series: the exact solution, so that no gradient is needed."""
        self.mean.copy_(series.mean())
        windows = series.double().unfold(0, self.order, 1)[:-1]  # [windows, order]
        constant = torch.ones(len(windows), 1, dtype=torch.float64)
        solution = torch.linalg.lstsq(torch.cat([windows, constant], 1), series[self.order :, None].double()).solution
        with torch.no_grad():
            self.filter.weight.copy_(solution[:-1].T)
            self.filter.bias.copy_(solution[-1])

    def step(self, x: Tensor, lengths: Tensor, state: States) -> tuple[Tensor, States]:
        """x [tokens] → the value after each, [tokens]."""
        if self.order == 1:
            return self.filter(x[:, None])[:, 0], {}
        windows, past = self.window(x, lengths, state["window"])  # [tokens, order]
        return self.filter(windows)[:, 0], {"window": past}

    def describe(self, name: str) -> ModelSpec:
        window = State(
            name="window",
            input="window",
            output="window_out",
            dtype="float32",
            shape=(self.order - 1,),
            initial=self.mean.item(),
        )
        output = Output(name="forecast", dtype="float32", time=True)
        return self._describe(name, (output,), (window,) if self.order > 1 else ())


class LatentForecaster(Forecaster):
    """A latent autoregressive model: h[t] = g(h[t-1], x[t]), x̂[t+1] = x[t] + f(h[t]).

    g is a recurrent layer of `kind` ("gru": Cho et al. 2014), f is linear: the window of an autoregressive model gives
    way to a summary of everything before. The forecast is a departure from the present value, as it is for a random
    walk.
    """

    def __init__(self, kind: str, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.standardise = Standardise(1)
        self.core = RaggedRNN(recurrent(kind, 1, hidden, 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, 1)

    def fit(self, series: Tensor) -> None:
        self.standardise.fit(series[:, None])

    def step(self, x: Tensor, lengths: Tensor, state: States) -> tuple[Tensor, States]:
        """x [tokens] → the value after each, [tokens]."""
        z = self.standardise(x[:, None])  # [tokens, 1]
        y, state = self.core(z, lengths, state)  # [tokens, hidden]
        return self.standardise.back(z + self.head(self.dropout(y)))[:, 0], state

    def describe(self, name: str) -> ModelSpec:
        states = tuple(carried(state, 1, self.core.rnn.hidden_size) for state in self.core.names)
        return self._describe(name, (Output(name="forecast", dtype="float32", time=True),), states)


class MixtureForecaster(Forecaster):
    """LSTM → mixture density (Bishop 1994): p(x[t+1]) = Σₖ wₖ N(x[t+1]; μₖ, σₖ²), after every value.

    w is a softmax, σ a softplus; the means are departures from the present value. With `sampled` there is a second
    input, a seed at every time step, and a last output, a value drawn from the mixture: the same seed at the same time
    draws alike, and one seed for all of a sequence draws afresh at every time step, which are counted in a state.
    """

    def __init__(self, hidden: int, components: int, dropout: float = 0.0, sampled: bool = False) -> None:
        super().__init__()
        self.components, self.sampled = components, sampled
        self.standardise = Standardise(1)
        self.core = RaggedRNN(nn.LSTM(1, hidden))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, 3 * components)
        self.places, self.draws = RaggedPositions(), Draws(each=3)

    def fit(self, series: Tensor) -> None:
        self.standardise.fit(series[:, None])

    def step(self, x: Any, lengths: Tensor, state: States) -> tuple[tuple[Tensor, ...], States]:
        """x [tokens] → weights, means and deviations, each [tokens, components].

        With `sampled` x is a pair of values and seeds, both [tokens], and there is a sample [tokens] besides.
        """
        values, *seed = x if self.sampled else (x,)
        z = self.standardise(values[:, None])  # [tokens, 1]
        y, end = self.core(z, lengths, state)  # [tokens, hidden]
        weights, means, deviations = self.head(self.dropout(y)).chunk(3, -1)
        spread = (softplus(deviations) + SHARPEST) * self.standardise.std
        mixture = weights.softmax(-1), self.standardise.back(z + means), spread
        if not self.sampled:
            return mixture, end
        place = self.places(lengths, values)  # [tokens] in the step
        time = state["time"][(place == 0).long().cumsum(0) - 1] + place
        return (*mixture, draw(mixture, self.draws(*seed, time))), end | {"time": state["time"] + lengths}

    def describe(self, name: str) -> ModelSpec:
        of, hidden = (self.components,), self.core.rnn.hidden_size
        outputs = tuple(Output(name=n, dtype="float32", shape=of, time=True) for n in MIXTURE)
        spec = self._describe(name, outputs, tuple(carried(state, 1, hidden) for state in "hc"))
        if not self.sampled:
            return spec
        time = State(name="time", input="time", output="time_out", dtype="int64", shape=())
        more: dict[str, tuple[Any, ...]] = {
            "inputs": (*spec.inputs, Input(name="seed", dtype="int64")),
            "outputs": (*outputs, Output(name="sample", dtype="float32", time=True)),
            "states": (*spec.states, time),
        }
        return spec.model_copy(update=more)


def draw(mixture: tuple[Tensor, ...], uniform: Tensor) -> Tensor:
    """A sample [tokens] of each mixture [tokens, components], by three uniform numbers each [tokens, 3].

    The first chooses a component, the others make a normal number of it (Box and Muller 1958).
    """
    weights, means, deviations = mixture
    passed = (weights.cumsum(-1)[:, :-1] < uniform[:, :1]).sum(-1, keepdim=True)  # [tokens, 1] components
    normal = (-2 * uniform[:, 1].log()).sqrt() * (2 * math.pi * uniform[:, 2]).cos()  # [tokens]
    return means.gather(1, passed)[:, 0] + deviations.gather(1, passed)[:, 0] * normal


#: The outputs of a mixture, in order.
MIXTURE = ("weights", "means", "deviations")
