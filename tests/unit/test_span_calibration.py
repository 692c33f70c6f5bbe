"""Temperature and threshold on cases whose best values are known."""

from pathlib import Path

import numpy as np
import pytest

from genir.errors import DataError
from genir.records import Document, Query
from rag.span.calibration import TEMPERATURES, best_threshold, calibrate, make_cases
from rag.span.negatives import WrongPassages
from tests.tiny_span_reader import save_word_encoder, tiny_reader

CORPUS = [
    Document("a1", "Oslo is the capital of Norway.", "Norway § 1"),
    Document("a2", "The coast of Norway lies in the west.", "Norway § 2"),
    Document("a3", "The old bridge was built in 1850.", "Norway § 3"),
]
ASKED = [(Query("q1", "what is the capital", ("Oslo",)), CORPUS[0]), (Query("q2", "when", ("1850",)), CORPUS[2])]


@pytest.mark.parametrize(
    ("confidences", "worth", "unanswerable", "threshold", "mean"),
    [
        ([0.9, 0.8, 0.2], [1, 1, 0], [False, False, True], 0.5, 1.0),
        ([0.9, 0.8, 0.2], [1, 1, 1], [False, False, False], 0.0, 1.0),
        ([0.9, 0.8, 0.2], [0, 0, 0], [True, True, True], 0.95, 1.0),
        ([0.5, 0.5, 0.5], [1, 0, 0], [False, True, True], 0.75, 2 / 3),  # equal confidences are not parted
        ([1.0, 1.0], [0, 0], [True, True], 0.0, 0.0),  # no threshold lies above 1
        ([0.6, 0.4], [1, 0], [False, False], 0.0, 0.5),  # of equals the lowest
    ],
)
def test_the_threshold_by_hand(
    confidences: list[float], worth: list[float], unanswerable: list[bool], threshold: float, mean: float
) -> None:
    found = best_threshold(np.array(confidences), np.array(worth, dtype=float), np.array(unanswerable))
    assert found == pytest.approx((threshold, mean))


def test_cases_ask_with_the_right_passage_and_without() -> None:
    cases = make_cases(ASKED, WrongPassages(CORPUS), passages=2, seed=3)
    assert [case.right is None for case in cases] == [False, True, False, True]
    for case, (_, own) in zip(cases, [pair for pair in ASKED for _ in range(2)], strict=True):
        assert (own in case.passages) == (case.right is not None)
        assert case.right is None or case.passages[case.right] is own
    assert cases == make_cases(ASKED, WrongPassages(CORPUS), passages=2, seed=3)


def test_the_temperature_undoes_what_was_multiplied(tmp_path: Path) -> None:
    """Twice the scores want twice the temperature, and are then worth the same."""
    reader = tiny_reader(save_word_encoder(tmp_path))
    cases = make_cases(ASKED, WrongPassages(CORPUS), passages=2)
    first = calibrate(reader, cases)
    assert TEMPERATURES[0] < first.temperature < TEMPERATURES[-1] / 2
    assert first.nll_after <= first.nll_before
    reader.model.head.weight.data *= 2
    second = calibrate(reader, cases)
    assert second.temperature == pytest.approx(2 * first.temperature, rel=1e-3)
    assert second.nll_after == pytest.approx(first.nll_after, rel=1e-3)
    assert second.min_confidence == pytest.approx(first.min_confidence, rel=1e-2)
    assert first.cases == 4
    assert set(first.facts()) >= {"temperature", "min_confidence", "refusal", "over_refusal"}


def test_calibration_needs_both_kinds() -> None:
    with pytest.raises(DataError, match="1 dev questions and no wrong passage for any of them: calibration needs"):
        make_cases(ASKED[:1], WrongPassages(CORPUS[:1]))
