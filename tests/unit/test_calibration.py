import pytest

from genir.errors import ConfigError, DataError
from rag.measures.calibration import Bin, auroc, expected_calibration_error, reliability_diagram


def test_reliability_diagram_by_hand() -> None:
    diagram = reliability_diagram([0.0, 0.2, 0.5, 0.6, 1.0], [0, 1, 0, 1, 1], bins=2)
    assert [(one.low, one.high, one.count) for one in diagram] == [(0.0, 0.5, 3), (0.5, 1.0, 2)]
    assert [one.confidence for one in diagram] == pytest.approx([(0.0 + 0.2 + 0.5) / 3, (0.6 + 1.0) / 2])
    assert [one.accuracy for one in diagram] == pytest.approx([1 / 3, 2 / 2])


def test_calibration_error_by_hand() -> None:
    # bins (0, .5] and (.5, 1]: 3/5 |1/3 - .7/3| + 2/5 |1 - .8|
    found = expected_calibration_error([0.0, 0.2, 0.5, 0.6, 1.0], [0, 1, 0, 1, 1], bins=2)
    assert found == pytest.approx(3 / 5 * abs(1 / 3 - 0.7 / 3) + 2 / 5 * abs(1 - 0.8))
    # one bin: |mean accuracy - mean confidence|
    assert expected_calibration_error([0.2, 0.8], [1, 0], bins=1) == pytest.approx(abs(1 / 2 - (0.2 + 0.8) / 2))
    assert expected_calibration_error([1.0, 1.0, 0.0], [1, 1, 0]) == 0.0


def test_edges_belong_to_the_bin_below() -> None:
    diagram = reliability_diagram([0.1, 0.3, 0.7], [1, 1, 1])
    assert [i for i, one in enumerate(diagram) if one.count] == [0, 2, 6]


def test_calibration_of_nothing_is_not_defined() -> None:
    assert expected_calibration_error([], []) is None
    assert reliability_diagram([], [], bins=1) == (Bin(0.0, 1.0, 0, None, None),)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"confidence -1\.5: expected values in 0\.\.1; of a mean log-probability take exp\(\)"
    ):
        reliability_diagram([-1.5], [1])
    with pytest.raises(DataError, match=r"confidence nan: expected values in 0\.\.1"):
        reliability_diagram([float("nan")], [1])
    with pytest.raises(DataError, match="2 confidences for 1 answers: expected one each"):
        reliability_diagram([0.5, 0.5], [1])
    with pytest.raises(ConfigError, match="bins = 0: expected at least one"):
        reliability_diagram([], [], bins=0)


def test_auroc_counts_pairs() -> None:
    # right ones .9 and .4, wrong ones .4 and .1: pairs 1, 1, 1/2, 1 of 4
    assert auroc([0.9, 0.4, 0.4, 0.1], [True, True, False, False]) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert auroc([0.5, 0.5], [True, False]) == 0.5


def test_auroc_of_one_kind_is_not_defined() -> None:
    assert auroc([0.1, 0.2], [True, True]) is None
    assert auroc([], []) is None
    with pytest.raises(DataError, match="1 scores for 2 labels: expected one each"):
        auroc([0.1], [True, False])
