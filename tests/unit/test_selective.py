import pytest

from genir.errors import ConfigError, DataError
from rag.measures.selective import SelectiveRisk, area_under_risk_coverage, excess_area, risk_at_coverage, risk_coverage

NO = [False, False, False]


def test_risk_coverage_by_hand() -> None:
    # surest first: right, wrong, right, wrong
    curve = risk_coverage([0.2, 0.9, 0.8, 0.5], [1, 0, 1, 0])
    assert curve.coverage.tolist() == [1 / 4, 2 / 4, 3 / 4, 4 / 4]
    assert curve.risk.tolist() == pytest.approx([0 / 1, 1 / 2, 1 / 3, 2 / 4])
    assert curve.threshold.tolist() == [0.9, 0.8, 0.5, 0.2]
    assert area_under_risk_coverage(curve) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    # the best order has both right ones first: 0, 0, 1/3, 2/4
    assert excess_area(curve) == pytest.approx((1 / 2 + 1 / 3 + 2 / 4 - 1 / 3 - 2 / 4) / 4)


def test_the_best_order_has_no_excess() -> None:
    assert excess_area(risk_coverage([0.9, 0.8, 0.1], [0, 0, 1])) == 0.0
    assert excess_area(risk_coverage([0.9, 0.8, 0.1], [0.0, 0.25, 0.5])) == 0.0  # losses of any size, such as 1 - F1


def test_ties_have_their_mean_loss_in_any_order() -> None:
    one, other = risk_coverage([0.5] * 4, [1, 0, 0, 0]), risk_coverage([0.5] * 4, [0, 0, 0, 1])
    assert one.risk.tolist() == other.risk.tolist() == [1 / 4] * 4
    assert area_under_risk_coverage(one) == 1 / 4


def test_what_was_left_unanswered_stands_last_and_is_wrong() -> None:
    # surest first: wrong (.3), then the abstention, whatever its confidence and loss
    curve = risk_coverage([0.99, 0.3], [0, 1], [False, True])
    assert curve.risk.tolist() == [1.0, 1.0]
    assert curve.threshold.tolist() == [0.3, float("-inf")]
    curve = risk_coverage([0.9, 0.8, 0.0], [0, 0, 0], [True, True, False])
    assert curve.risk.tolist() == pytest.approx([0, 0, 1 / 3])


def test_risk_at_coverage_by_hand() -> None:
    curve = risk_coverage([0.9, 0.8, 0.5, 0.4, 0.2], [0, 1, 0, 1, 1])
    for coverage in (0.6, 0.5):  # .5 is rounded up to a whole question
        found = risk_at_coverage(curve, coverage)
        assert (found.coverage, found.threshold) == (3 / 5, 0.5)
        assert found.risk == pytest.approx(1 / 3)
    assert risk_at_coverage(curve, 1.0).risk == pytest.approx(3 / 5)
    ten = risk_coverage(list(range(10)), [0] * 10)
    assert risk_at_coverage(ten, 0.8).coverage == 0.8
    assert risk_at_coverage(ten, 0.7).coverage == 0.7  # .7 * 10 is a little more than 7 in binary


def test_a_coverage_that_a_reader_does_not_reach() -> None:
    curve = risk_coverage([0.9, 0.8, 0.0, 0.0], [0, 1, 0, 0], [True, True, False, False])
    assert risk_at_coverage(curve, 0.8) == SelectiveRisk(0.5, 0.5, 0.8)


def test_curves_of_nothing() -> None:
    empty = risk_coverage([], [])
    assert (len(empty), area_under_risk_coverage(empty), excess_area(empty)) == (0, None, None)
    assert risk_at_coverage(empty, 0.8) == SelectiveRisk(0.0, None, None)
    silent = risk_coverage([0.1, 0.2, 0.3], [0, 0, 0], NO)
    assert (area_under_risk_coverage(silent), excess_area(silent)) == (1.0, 0.0)
    assert risk_at_coverage(silent, 0.8) == SelectiveRisk(0.0, None, None)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="1 confidences, 2 losses and 2 marks: expected one of each a question"):
        risk_coverage([0.5], [0, 1])
    with pytest.raises(DataError, match="a confidence or a loss is infinite or NaN"):
        risk_coverage([float("nan")], [0])
    with pytest.raises(ConfigError, match=r"coverage 0: expected a share above 0, at most 1"):
        risk_at_coverage(risk_coverage([], []), 0)
