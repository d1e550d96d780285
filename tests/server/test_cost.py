"""What a batch costs, by hand."""

from __future__ import annotations

import numpy as np

from headrace.server.cost import Cost


def test_padding_and_the_call_are_what_a_batch_costs_beside_its_rows() -> None:
    cost = Cost(call=10, cell=0.5)
    assert cost.own(3, 9) == 7.5  # one row of 3
    assert cost.of(1, 3, 3) == 17.5
    assert cost.of(2, 4, 3) - cost.own(4, 10) == 10 + 0.5 * 8  # a row of 1 is padded to 3: 8 cells for nothing
    assert cost.of(np.array([1, 2]), np.array([3, 4]), np.array([3, 3])).tolist() == [17.5, 23]
