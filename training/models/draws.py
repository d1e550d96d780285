"""Random numbers that follow from a seed and a count, in integer arithmetic that every runtime does alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: A Mersenne prime: products of two numbers below it fit into 64 bits, and as 5 does not divide PRIME - 1, x⁵ modulo
#: PRIME meets every number once.
PRIME = 2**31 - 1

#: The first hexadecimal digits of π behind the point, eight at a time.
ROUNDS = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0, 0x082EFA98, 0xEC4E6C89)


class Draws(nn.Module):
    """Uniform numbers by counting (Salmon et al. 2011): the count is enciphered under the seed, nothing is carried on.

    The cipher is that of Albrecht et al. 2016 (MiMC), x ← (x + seed + constant)⁵ modulo a prime, in eight rounds:
    enough for good statistics, not for secrets.
    """

    def __init__(self, each: int) -> None:
        super().__init__()
        self.each = each

    def forward(self, seed: Tensor, time: Tensor) -> Tensor:
        """seed, time [tokens] int64 → [tokens, each] float32 above 0 and below 1, other ones at every time."""
        key = (seed % PRIME)[:, None]  # [tokens, 1]
        x = (time[:, None] * self.each + torch.arange(self.each, device=time.device)) % PRIME  # [tokens, each]
        for constant in ROUNDS:
            x = (x + key + constant) % PRIME
            square = x * x % PRIME
            x = square * square % PRIME * x % PRIME
        # 23 bits, and a half: what float32 holds exactly, so that neither 0 nor 1 is ever met.
        return ((x + key) % PRIME // 2**8 + 0.5) / 2**23
