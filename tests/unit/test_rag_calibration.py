"""What dev questions decide: probabilities, thresholds, and what lies below them."""

import math
from collections.abc import Sequence

import pytest

from experiments.rag_evaluation.calibration import calibrate, calibrated_figures, probabilities, tuned
from rag.measures.per_question import PerQuery


def measures(rows: Sequence[tuple[float, float, float]], unanswerable: tuple[int, ...] = ()) -> PerQuery:
    """Of (confidence, answered, right) a question."""
    values: PerQuery = {}
    for number, (sure, given, right) in enumerate(rows):
        silent = number in unanswerable
        one = {
            "confidence": sure * given,
            "coverage": given,
            "abstention": 1 - given,
            "EM": (1 - given) if silent else right * given,
            "F1": (1 - given) if silent else right * given,
            "hallucination": given * (1 - right),
            "refusal" if silent else "over-refusal": 1 - given,
        }
        for measure, value in one.items():
            values.setdefault(measure, {})[f"q{number}"] = value
    return values


DEV = measures([(0.9, 1, 1)] * 30 + [(0.9, 1, 0)] * 10 + [(0.2, 1, 1)] * 10 + [(0.2, 1, 0)] * 30)


def test_probabilities_are_those_of_dev() -> None:
    calibration = calibrate(DEV, "hallucination", 0.5)
    assert calibration is not None
    assert calibration.probability(0.9) == pytest.approx(0.75, abs=0.02)
    assert calibration.probability(0.2) == pytest.approx(0.25, abs=0.02)
    assert calibration.probability(0.0) < calibration.probability(0.5) < calibration.probability(1.0)
    assert (calibration.questions, calibration.answered) == (80, 80)
    assert calibration.threshold.value == 0.9


def test_dev_questions_without_an_answer_raise_the_threshold_and_leave_the_probabilities() -> None:
    rows: list[tuple[float, float, float]]
    rows = [(0.9, 1, 1), (0.8, 1, 1), (0.7, 1, 1), (0.3, 1, 1), (0.75, 1, 0), (0.5, 1, 0), (0.4, 1, 0), (0.0, 0, 0)]
    alone = calibrate(measures(rows[:4]), "hallucination", 0.75)
    both = calibrate(measures(rows, unanswerable=(4, 5, 6, 7)), "hallucination", 0.75)
    assert alone is not None
    assert both is not None
    assert (alone.threshold.value, both.threshold.value) == (0.3, 0.7)  # the fourth right one costs two wrong ones
    assert (both.threshold.coverage, both.threshold.risk, both.threshold.unanswerable) == (0.75, 0.25, 4)
    assert (both.slope, both.intercept, both.questions, both.answered) == (alone.slope, alone.intercept, 4, 4)


def test_a_threshold_withdraws_and_silence_scores_as_it_does_everywhere() -> None:
    calibration = calibrate(DEV, "hallucination", 0.5)
    assert calibration is not None
    test = measures(
        [(0.95, 1, 1), (0.5, 1, 1), (0.5, 1, 0), (0.1, 0, 0), (0.5, 1, 0), (0.99, 1, 0)], unanswerable=(4, 5)
    )
    found = tuned(test, calibration)
    assert found["EM (tuned)"] == {"q0": 1.0, "q1": 0.0, "q2": 0.0, "q3": 0.0, "q4": 1.0, "q5": 0.0}
    assert found["hallucination (tuned)"] == {"q0": 0, "q1": 0, "q2": 0, "q3": 0, "q4": 0, "q5": 1}
    assert found["refusal (tuned)"] == {"q4": 1.0, "q5": 0}
    assert found["over-refusal (tuned)"] == {"q0": 0, "q1": 1.0, "q2": 1.0, "q3": 1.0}
    assert list(found["coverage (tuned)"].values()) == [1, 0, 0, 0, 0, 1]
    assert found["EM"] == test["EM"]


def test_a_confidence_that_tells_nothing_becomes_one_probability() -> None:
    backwards = measures([(0.9, 1, 0)] * 9 + [(0.2, 1, 1)] * 9)
    calibration = calibrate(backwards, "hallucination", 1.0)
    assert calibration is not None
    assert calibration.slope == 0.0
    assert calibration.probability(0.9) == pytest.approx(0.5)
    wrong = calibrate(measures([(0.9, 1, 0), (0.8, 1, 0)]), "hallucination", 1.0)
    assert wrong is not None
    assert wrong.probability(0.3) == pytest.approx(0.25)  # (0 + 1) / (2 + 2)
    assert math.isfinite(wrong.intercept)


def test_nothing_to_calibrate() -> None:
    assert calibrate(measures([(0.9, 0, 0)]), "hallucination", 0.9) is None  # it answered nothing
    assert calibrate(measures([(0.0, 1, 1)]), "hallucination", 0.9) is None  # it gives no confidence


def test_figures_after_calibration() -> None:
    calibration = calibrate(DEV, "hallucination", 0.5)
    assert calibration is not None
    found = calibrated_figures(tuned(DEV, calibration), calibration, "hallucination", 0)
    assert found["ECE (calibrated)"].mean == pytest.approx(0.0, abs=0.02)
    assert found["hallucination of answered (tuned)"].mean == pytest.approx(0.25)
    sure, right = probabilities(DEV, None, "hallucination")
    assert (sure[0], right[0], len(sure)) == (0.9, 1, 80)
