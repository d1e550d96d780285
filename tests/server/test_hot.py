import pytest

from headrace.server.hot import hot


@hot
class Pair:
    first: int
    second: int = 2


def test_a_hot_class_is_a_data_class_with_slots_and_no_others() -> None:
    pair = Pair(1)
    assert pair == Pair(1, 2) and repr(pair).endswith("Pair(first=1, second=2)")
    with pytest.raises(AttributeError):
        pair.third = 3
    match pair:
        case Pair(first, second):
            assert (first, second) == (1, 2)
