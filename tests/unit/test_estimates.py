import numpy as np
import pytest

from genir.errors import ConfigError, DataError
from rag.measures.estimates import UNDEFINED, Estimate, estimate, estimates


def values(wrong: list[float], given: list[float], sure: list[float]) -> dict[str, dict[str, float]]:
    columns = {"hallucination": wrong, "coverage": given, "confidence": sure}
    return {measure: {f"q{i}": value for i, value in enumerate(column)} for measure, column in columns.items()}


def test_figures_by_hand() -> None:
    # four questions: right at .9, wrong at .6, right at .5, an abstention
    found = estimates(
        values([0, 1, 0, 0], [1, 1, 1, 0], [0.9, 0.6, 0.5, 0.0]), coverages=(0.5, 0.8), bins=1, resamples=200
    )
    assert found.pop("hallucination at 80 % coverage") == UNDEFINED  # it answers only three of four
    figures = {name: one.mean for name, one in found.items()}
    assert figures == pytest.approx(
        {
            "hallucination": 1 / 4,
            "coverage": 3 / 4,
            "confidence": 2.0 / 4,
            "hallucination of answered": 1 / 3,
            "ECE": abs(2 / 3 - 2.0 / 3),
            "AUROC": 1 / 2,  # .9 above .6, .5 below it
            "AURC": (0 + 1 / 2 + 1 / 3 + 2 / 4) / 4,
            "E-AURC": (0 + 1 / 2 + 1 / 3 + 2 / 4) / 4 - (0 + 0 + 1 / 3 + 2 / 4) / 4,
            "hallucination at 50 % coverage": 1 / 2,
        }
    )
    for one in found.values():
        assert one.mean is not None
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.mean <= one.high


def test_all_abstained_has_figures_where_they_are_defined() -> None:
    found = estimates(values([0, 0], [0, 0], [0.0, 0.0]))
    assert found["coverage"] == Estimate(0.0, 0.0, 0.0)
    assert found["AURC"] == Estimate(1.0, 1.0, 1.0)
    assert found["E-AURC"] == Estimate(0.0, 0.0, 0.0)
    for name in ("hallucination of answered", "ECE", "AUROC", "hallucination at 80 % coverage"):
        assert found[name] == UNDEFINED


def test_all_right_has_no_auroc() -> None:
    found = estimates(values([0, 0], [1, 1], [0.9, 0.8]))
    assert found["AUROC"] == UNDEFINED
    assert found["AURC"] == Estimate(0.0, 0.0, 0.0)


def test_a_reader_without_confidences_has_no_figures_from_them() -> None:
    found = estimates(values([0, 1], [1, 1], [0.0, 0.0]))
    assert found["hallucination of answered"].mean == 1 / 2
    assert {found[name] for name in ("ECE", "AUROC", "AURC", "E-AURC")} == {UNDEFINED}


def test_another_loss_takes_the_place_of_exact_match() -> None:
    given = values([1, 1, 1], [1, 1, 1], [0.9, 0.6, 0.5])
    given["fact-conflicting"] = {"q0": 0.0, "q1": 1.0}  # q2 has no accepted answer
    found = estimates(given, coverages=(0.3,), resamples=10, loss="fact-conflicting")
    assert found["fact-conflicting of answered"].mean == pytest.approx(2 / 3)
    assert found["fact-conflicting at 30 % coverage"].mean == 0.0
    with pytest.raises(ConfigError, match="unknown loss 'facts'"):
        estimates(given, loss="facts")


def test_an_empty_run() -> None:
    assert set(estimates(values([], [], [])).values()) == {UNDEFINED}
    assert estimates({}) == {}


def test_one_question_has_an_interval_of_no_width() -> None:
    assert estimates(values([1], [1], [0.5]))["AURC"] == Estimate(1.0, 1.0, 1.0)


def test_a_paired_difference() -> None:
    a, b = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0])
    found = estimate(lambda rows: float((a[rows] - b[rows]).mean()), 4, seed=1)
    assert found.mean == 1 / 4
    assert (found.low, found.high) == (0.0, 0.75)
    again = estimate(lambda rows: float((a[rows] - b[rows]).mean()), 4, seed=1)
    assert again == found


def test_bad_input_is_refused() -> None:
    broken = values([0], [1], [0.5])
    broken["confidence"] = {"other": 0.5}
    with pytest.raises(DataError, match="'confidence' and 'coverage' have values of different questions"):
        estimates(broken)
    with pytest.raises(ConfigError, match=r"level 1, resamples 10: expected a level between 0 and 1"):
        estimate(lambda rows: 0.0, 1, resamples=10, level=1)
