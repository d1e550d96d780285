"""The slow ways, one number and one text at a time, against which the columns are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from headrace.server.commands import Sampling
from headrace.server.steps import Ending


@dataclass(frozen=True, slots=True)
class Variant:
    """A Philox of four words of so many bits (Salmon et al. 2011, table 2)."""

    bits: int
    factors: tuple[int, int]
    growth: tuple[int, int]


WORDS_32 = Variant(32, (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85))
WORDS_64 = Variant(64, (0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B))


def philox(variant: Variant, counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Ten rounds, in whole numbers."""
    low = (1 << variant.bits) - 1
    a, b, c, d = counter
    for number in range(10):
        left, right = a * variant.factors[0], c * variant.factors[1]
        first, second = ((k + number * grown) & low for k, grown in zip(key, variant.growth, strict=True))
        a, b, c, d = (right >> variant.bits) ^ b ^ first, right & low, (left >> variant.bits) ^ d ^ second, left & low
    return a, b, c, d


def bits(seed: int, place: int, what: int) -> int:
    low = (1 << 32) - 1
    words = philox(WORDS_32, (place & low, place >> 32, what, 0), (seed & low, seed >> 32))
    return words[0] << 32 | words[1]


def uniform(seed: int, position: int) -> float:
    return float((bits(seed, position, 0) >> 11) / (1 << 53))


def seed_of(seed: int, prompt: int, copy: int) -> int:
    return bits(seed, prompt << 32 | copy, 1)


def choose(logits: Sequence[float], seen: set[int], sampling: Sampling, drawn: float) -> int:
    """One token by the logits of one row, in the order of Sampling's text; drawn: the number in [0, 1)."""
    penalty = sampling.repetition_penalty
    scores = [z if t not in seen else z / penalty if z > 0 else z * penalty for t, z in enumerate(logits)]
    likeliest = sorted(range(len(scores)), key=lambda t: (-scores[t], t))
    if not sampling.temperature:
        return likeliest[0]
    kept = likeliest[: sampling.top_k or len(scores)]
    mass = [math.exp((scores[t] - scores[likeliest[0]]) / sampling.temperature) for t in kept]
    total = math.fsum(mass)
    share = [below / total for below in accumulate(mass)]
    kept = kept[: 1 + next(n for n, s in enumerate(share) if s >= min(sampling.top_p, share[-1]))]
    weight = dict(zip(kept, mass, strict=False))
    total, below = math.fsum(weight.values()), 0.0
    for token in sorted(kept):
        below += weight[token]
        if below > drawn * total:
            return token
    return max(kept)


def stopped(symbols: Sequence[str], stop: Sequence[str]) -> tuple[int, str] | None:
    """How many tokens of such symbols lie before the first stop string, and the text before it; None without one."""
    for count in range(1, len(symbols) + 1):
        text = "".join(symbols[:count])
        found = [text.find(s) for s in stop if s in text]
        if found:
            whole = [n for n in range(count + 1) if len("".join(symbols[:n])) <= min(found)]
            return max(whole), text[: min(found)]
    return None


@dataclass(frozen=True, slots=True)
class Written:
    tokens: tuple[int, ...]
    text: str
    ending: Ending


def write(
    logits: Callable[[Sequence[int]], Sequence[float]],
    prompt: Sequence[int],
    sampling: Sampling,
    seed: int,
    *,
    most: int,
    symbol: Callable[[int, bool], str],
    goes_on: bool = True,
    stop: Sequence[str] = (),
    end: int | None = None,
    longest: int | None = None,
) -> Written:
    """One text alone. logits: of the token behind some tokens; symbol: what a token adds, and whether others stand
    before it; goes_on: whether any stand before the first."""
    sequence, tokens, symbols = list(prompt), [], []
    while True:
        token = choose(logits(sequence), set(sequence), sampling, uniform(seed, len(sequence)))
        if token == end:
            return Written(tuple(tokens), "".join(symbols), Ending.END)
        symbols.append(symbol(token, goes_on or bool(tokens)))
        tokens.append(token)
        if found := stopped(symbols, stop):
            return Written(tuple(tokens[: found[0]]), found[1], Ending.STOP)
        if len(tokens) == most or len(sequence) == longest:
            ending = Ending.MOST if len(tokens) == most else Ending.FULL
            return Written(tuple(tokens), "".join(symbols), ending)
        sequence.append(token)
