"""Models that forecast the next value of a series from all before it, in the units of the series."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from headrace.spec import Chunk, Input, ModelSpec, Output, State

from ..ragged import RaggedRNN
from ..ragged import State as States
from .base import SequenceModel, carried
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

    w is a softmax, σ a softplus; the means are departures from the present value.
    """

    def __init__(self, hidden: int, components: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.components = components
        self.standardise = Standardise(1)
        self.core = RaggedRNN(nn.LSTM(1, hidden))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, 3 * components)

    def fit(self, series: Tensor) -> None:
        self.standardise.fit(series[:, None])

    def step(self, x: Tensor, lengths: Tensor, state: States) -> tuple[tuple[Tensor, ...], States]:
        """x [tokens] → weights, means and deviations, each [tokens, components]."""
        z = self.standardise(x[:, None])  # [tokens, 1]
        y, state = self.core(z, lengths, state)  # [tokens, hidden]
        weights, means, deviations = self.head(self.dropout(y)).chunk(3, -1)
        spread = (softplus(deviations) + SHARPEST) * self.standardise.std
        return (weights.softmax(-1), self.standardise.back(z + means), spread), state

    def describe(self, name: str) -> ModelSpec:
        of = (self.components,)
        outputs = tuple(Output(name=n, dtype="float32", shape=of, time=True) for n in MIXTURE)
        return self._describe(name, outputs, tuple(carried(state, 1, self.core.rnn.hidden_size) for state in "hc"))


#: The outputs of a mixture, in order.
MIXTURE = ("weights", "means", "deviations")
