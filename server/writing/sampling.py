"""How tokens are chosen by their logits: rows of different settings side by side, each as if it were alone.

In order: repetition penalty, temperature, top-k, top-p, and a draw by inverting the cumulative distribution of what is
left, in the order of the tokens. Tokens exactly as likely as the last one that is kept are kept too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..commands import Sampling
from ..steps import Array, Rows
from .philox import uniforms

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Where top-p alone cuts a large vocabulary, the likeliest so many tokens are looked at first; they nearly always do.
LIKELIEST = 512

#: So many logits are worked on at a time: what comes of them on the way lies in a core's own cache.
CELLS = 1 << 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Sampling in columns, [rows] each; the seeds are those of the texts. No top-k: as many as the vocabulary has."""

    temperature: Floats
    top_k: Rows
    top_p: Floats
    penalty: Floats
    seeds: NDArray[np.uint64]

    @classmethod
    def of(cls, samplings: Sequence[Sampling], seeds: Sequence[int], vocabulary: int) -> Settings:
        """One row for each."""
        return cls(
            np.array([s.temperature for s in samplings], np.float64),
            np.array([min(s.top_k or vocabulary, vocabulary) for s in samplings], np.int64),
            np.array([s.top_p for s in samplings], np.float64),
            np.array([s.repetition_penalty for s in samplings], np.float64),
            np.array(seeds, np.uint64),
        )

    def take(self, rows: Array | slice) -> Settings:
        return Settings(
            self.temperature[rows], self.top_k[rows], self.top_p[rows], self.penalty[rows], self.seeds[rows]
        )

    def put(self, rows: Array, others: Settings) -> None:
        """Writes the settings of `others` to these rows, one each."""
        self.temperature[rows], self.top_k[rows], self.top_p[rows] = others.temperature, others.top_k, others.top_p
        self.penalty[rows], self.seeds[rows] = others.penalty, others.seeds


def choose(logits: Array, seen: Mask, how: Settings, positions: Rows) -> Rows:
    """logits [rows, vocabulary], NaN or +inf nowhere; seen likewise: tokens before; positions [rows] → tokens [rows].

    position: that of the chosen token in its sequence, by which the number to draw is found.
    """
    drawn = uniforms(how.seeds, positions) if np.count_nonzero(how.temperature) else np.zeros(len(logits))
    return choose_by(logits, seen, how, drawn)


def choose_by(logits: Array, seen: Mask, how: Settings, drawn: Floats) -> Rows:
    """The same by numbers [rows] in [0, 1); those of rows with temperature 0 are not looked at."""
    rows, step = len(logits), max(1, CELLS // logits.shape[1])
    if rows <= step:
        return _choose(logits, seen, how, drawn)
    parts = [slice(row, row + step) for row in range(0, rows, step)]
    return np.concatenate([_choose(logits[p], seen[p], how.take(p), drawn[p]) for p in parts])


def _choose(logits: Array, seen: Mask, how: Settings, drawn: Floats) -> Rows:
    scores = penalised(logits, seen, how.penalty)
    tokens: Rows = scores.argmax(axis=1)
    if len(rows := np.flatnonzero(how.temperature > 0)):
        mass = np.cumsum(_weights(scores[rows], how.take(rows)), axis=1)  # [drawn, vocabulary]
        tokens[rows] = _inverted(mass, drawn[rows])
    return tokens


def penalised(logits: Array, seen: Mask, penalty: Floats) -> Array:
    """Logits of tokens that were seen, divided by the penalty [rows] where positive, else multiplied (Keskar et al.
    2019, section 4.1); all [rows, vocabulary]."""
    if not np.count_nonzero(penalty != 1):
        return logits
    factor = penalty[:, None]
    return np.where(seen, np.where(logits > 0, logits / factor, logits * factor), logits)


def margins(logits: Array, seen: Mask, how: Settings, positions: Rows) -> Floats:
    """[rows] how near the choice of a token was to another one; arguments as of `choose`.

    At temperature 0 by how much the best logit is above the next one. Else the least of three distances: of the number
    drawn from the edges of the token's part of the distribution; of the logits between which top-k cut; and of top-p
    from the probabilities summed up to the last token kept, and to the one before.
    """
    scores = penalised(logits, seen, how.penalty)
    best = np.sort(scores.astype(np.float64), axis=1)[:, ::-1]  # [rows, vocabulary], the best first
    nearest: Floats = best[:, 0] - best[:, 1]
    if len(rows := np.flatnonzero(how.temperature > 0)):
        how, best = how.take(rows), best[rows]
        drawn = _to_edges(np.cumsum(_weights(scores[rows], how), axis=1), uniforms(how.seeds, positions[rows]))
        nearest[rows] = np.minimum(drawn, np.minimum(_to_cut(best, how.top_k), _to_mass(best, how)))
    return nearest


def _weights(scores: Array, how: Settings) -> Floats:
    """[rows, vocabulary] logits → the probabilities of what is kept, but for a factor of each row; else 0."""
    with np.errstate(over="ignore"):  # at a temperature near 0 what is less likely comes out as -inf, as it should
        scaled = (scores - scores.max(axis=1, keepdims=True)) / how.temperature[:, None]
    weights: Floats = np.exp(scaled)
    if np.count_nonzero(cut := (how.top_k < weights.shape[1]) | (how.top_p < 1)):
        rows = np.flatnonzero(cut)
        some = weights[rows]
        weights[rows] = np.where(some >= _least(some, how.top_k[rows], how.top_p[rows])[:, None], some, 0)
    return weights


def _least(weights: Floats, top_k: Rows, top_p: Floats) -> Floats:
    """[rows] the weight of the least likely token that both cuts keep."""
    vocabulary = weights.shape[1]
    width = min(vocabulary, max(LIKELIEST, int(top_k[top_k < vocabulary].max(initial=0))))
    least, enough = _least_of(weights, top_k, top_p, width)
    if not enough.all():
        rows = np.flatnonzero(~enough)
        least[rows], _ = _least_of(weights[rows], top_k[rows], top_p[rows], vocabulary)
    return least


def _least_of(weights: Floats, top_k: Rows, top_p: Floats, width: int) -> tuple[Floats, Mask]:
    """The same, looked for among so many of the likeliest; and whether it is among them, [rows]."""
    ranked = _ranked(weights, width)
    mass = np.cumsum(ranked, axis=1)  # [rows, width]
    rows = np.arange(len(ranked))
    total = np.where(top_k <= width, mass[rows, np.minimum(top_k, width) - 1], weights.sum(axis=1))
    last = np.count_nonzero(mass < (top_p * total)[:, None], axis=1)  # [rows] place of the last one that top-p keeps
    last = np.minimum(last, np.minimum(top_k, width) - 1)
    return ranked[rows, last], (top_k <= width) | (mass[:, -1] >= top_p * total)


def _ranked(weights: Floats, width: int) -> Floats:
    """[rows, width] the largest weights, largest first; a partition first is what a large vocabulary is quick by."""
    vocabulary = weights.shape[1]
    if width < vocabulary:
        weights = np.partition(weights, vocabulary - width, axis=1)[:, vocabulary - width :]
    return np.sort(weights, axis=1)[:, ::-1]


def _inverted(mass: Floats, drawn: Floats) -> Rows:
    """[rows] the first token up to which more than the drawn share of all the mass [rows, vocabulary] lies."""
    tokens: Rows = (mass > (drawn * mass[:, -1])[:, None]).argmax(axis=1)
    return tokens


def _to_edges(mass: Floats, drawn: Floats) -> Floats:
    """[rows] from the number drawn to the nearest edge between two tokens; 0 and 1 are none."""
    inner = np.where(mass < mass[:, -1:], mass, np.inf) / mass[:, -1:]
    edges: Floats = np.abs(inner - drawn[:, None]).min(axis=1)
    return edges


def _to_cut(best: Floats, top_k: Rows) -> Floats:
    """best [rows, vocabulary], the best logit first → [rows] between the last that top-k keeps and the next one."""
    rows, behind = np.arange(len(best)), np.minimum(top_k, best.shape[1] - 1)
    gaps: Floats = np.where(top_k < best.shape[1], best[rows, behind - 1] - best[rows, behind], np.inf)
    return gaps


def _to_mass(best: Floats, how: Settings) -> Floats:
    """best [rows, vocabulary], the best logit first → [rows] from top-p to the nearest sum of probabilities."""
    with np.errstate(over="ignore"):
        weights = np.exp((best - best[:, :1]) / how.temperature[:, None])
    weights[np.arange(best.shape[1]) >= how.top_k[:, None]] = 0
    mass = np.cumsum(weights, axis=1)
    nearest = np.abs(mass / mass[:, -1:] - how.top_p[:, None]).min(axis=1)
    return np.where(how.top_p < 1, nearest, np.inf)
