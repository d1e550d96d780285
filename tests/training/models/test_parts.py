"""Windows over rows of different lengths hold what a row's own past and its own steps hold, and nothing else."""

from __future__ import annotations

import pytest
import torch

from headrace.training.models.parts import RaggedWindow, Standardise


def test_windows_reach_back_into_each_rows_own_past() -> None:
    window = RaggedWindow(3)
    past = torch.tensor([[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0]])
    windows, after = window(torch.arange(1.0, 7.0), torch.tensor([2, 3, 1]), past)
    assert windows.tolist() == [[-1, -2, 1], [-2, 1, 2], [-3, -4, 3], [-4, 3, 4], [3, 4, 5], [-5, -6, 6]]
    assert after.tolist() == [[1, 2], [4, 5], [-6, 6]]


@pytest.mark.parametrize("sizes", [[1] * 9, [4, 1, 4], [9]], ids=str)
def test_windows_over_chunks_are_those_of_the_whole(sizes: list[int]) -> None:
    torch.manual_seed(0)
    x, past, found = torch.randn(9, 2), torch.randn(1, 3, 2), []
    whole = torch.cat([past[0], x]).unfold(0, 4, 1).transpose(1, 2)  # [tokens, width, features]
    window = RaggedWindow(4)
    for chunk in torch.split(x, sizes):
        windows, past = window(chunk, torch.tensor([len(chunk)]), past)
        found.append(windows)
    assert torch.equal(torch.cat(found), whole)


def test_standardised_values_come_back() -> None:
    standardise = Standardise(2)
    raw = torch.tensor([[1.0, 50.0], [3.0, 10.0], [8.0, 30.0]])
    standardise.fit(raw)
    torch.testing.assert_close(standardise.back(standardise(raw)), raw)
