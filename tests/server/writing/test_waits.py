"""What is told of waits: the first tokens apart, the others from one to the next."""

from __future__ import annotations

import numpy as np

from headrace.server.writing.waits import Waits


def test_the_first_token_counts_from_the_request_and_the_others_from_the_one_before() -> None:
    waits = Waits(3)
    waits.begin(0, 10.0)
    waits.begin(2, 11.0)
    waits.chosen(np.array([0, 2]), 12.0)
    waits.chosen(np.array([2]), 12.5)
    waits.begin(2, 12.5)  # the row is another text's
    waits.chosen(np.array([0, 2]), 13.0)
    first, between = waits.take()
    assert (first.tolist(), between.tolist()) == ([2.0, 1.0, 0.5], [0.5, 1.0])
    assert not any(len(column) for column in waits.take())


def test_of_tokens_that_come_together_only_the_first_was_waited_for() -> None:
    waits = Waits(2)
    waits.begin(0, 10.0)
    waits.begin(1, 10.0)
    waits.chosen(np.array([0, 1]), 11.0)
    waits.chosen(np.array([0, 1]), 14.0, 3)
    assert waits.take().between.tolist() == [3.0, 3.0, 0.0, 0.0, 0.0, 0.0]
