"""Parts that stand for the whole."""

from genir.sampling import spread


def test_a_part_is_spread_from_the_first_to_the_last() -> None:
    assert spread(range(10), 4) == (0, 2, 5, 7)
    assert spread(range(7), 5) == (0, 1, 2, 4, 5)  # not the first five
    assert spread("abc", 1) == ("a",)


def test_all_are_taken_where_there_are_no_more_or_none_is_said() -> None:
    assert spread(range(10), 0) == spread(range(10), 10) == spread(range(10), 99) == tuple(range(10))
