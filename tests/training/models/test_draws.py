"""Draws follow from seed and time alone, and look like chance."""

from __future__ import annotations

import torch

from headrace.training.models.draws import PRIME, Draws
from headrace.training.models.forecasters import draw

MANY = 40_000


def drawn(seed: int, each: int = 3) -> torch.Tensor:
    return Draws(each)(torch.full((MANY,), seed), torch.arange(MANY))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([a, b]))[0, 1].abs().item()


def test_they_are_uniform() -> None:
    for seed in (0, 1, 12345):
        counts = torch.histc(drawn(seed), 20, 0, 1)
        expected = MANY * 3 / 20
        assert (
            (counts - expected).square() / expected
        ).sum() < 45  # chi square of 19 degrees: 1 in 1,000 is above 43.8


def test_neither_times_nor_seeds_nor_columns_follow_each_other() -> None:
    one, other = drawn(7), drawn(8)
    far = 5 / MANY**0.5
    assert correlation(one[1:, 0], one[:-1, 0]) < far
    assert correlation(one[:, 0], other[:, 0]) < far
    assert correlation(one[:, 0], one[:, 1]) < far
    neighbours = Draws(1)(torch.arange(MANY), torch.zeros(MANY, dtype=torch.int64))[:, 0]
    assert correlation(neighbours[1:], neighbours[:-1]) < far


def test_the_same_seed_and_time_draw_alike_and_any_seed_is_taken() -> None:
    seeds = torch.tensor([3, 3, 4, -1, 2**62, 2**63 - 1])
    found = Draws(2)(seeds, torch.tensor([9, 9, 9, 0, 0, 2**40]))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert ((found > 0) & (found < 1)).all()


def test_the_cipher_meets_every_number_once() -> None:
    assert all((PRIME - 1) % 5 and pow(x, 5, PRIME) for x in (1, 2, PRIME - 1))
    codes = (drawn(5, each=1) * 2**23).long()
    # 23 of 31 bits are kept, so some meet by chance: about MANY² / 2 / 2²³ of them.
    assert MANY - len(codes.unique()) < 140


def test_samples_are_of_the_mixture() -> None:
    mixture = tuple(torch.tensor([part]).expand(MANY, 2) for part in ([0.3, 0.7], [-5.0, 5.0], [1.0, 2.0]))
    samples = draw(mixture, drawn(11))
    low = samples < -1.5
    assert abs(low.float().mean().item() - 0.3) < 0.01
    assert abs(samples[low].mean().item() + 5) < 0.05 and abs(samples[low].std().item() - 1) < 0.03
    assert abs(samples[~low].mean().item() - 5) < 0.05 and abs(samples[~low].std().item() - 2) < 0.03
