from dataclasses import replace
from pathlib import Path

import pytest

from genir.errors import ArtefactError, ConfigError, DataError
from genir.records import Answer, Document, Query
from rag.abstention import Threshold, answer_loss, guaranteed_risk, least_risk, risk_bound, tune_threshold
from rag.measures.hallucination import fact_conflicts
from rag.mitigations.abstaining import Abstention
from rag.mitigations.step import Mitigation, apply

ALL = [True] * 4


def test_the_bound_is_clopper_and_pearsons() -> None:
    # none wrong of n: (1 - b)^n = delta
    assert risk_bound(0, 1, 0.1) == pytest.approx(0.9)
    assert risk_bound(0, 4, 0.0625) == pytest.approx(1 - 0.5)
    # at most one wrong of two: 1 - b^2 = delta
    assert risk_bound(1, 2, 0.19) == pytest.approx(0.9)
    assert risk_bound(2, 2, 0.1) == risk_bound(0, 0, 0.1) == 1.0


def test_least_risk_at_a_coverage_by_hand() -> None:
    # surest first: right, wrong, right, right: risks 0, 1/2, 1/3, 1/4
    found = least_risk([0.9, 0.8, 0.7, 0.2], [0, 1, 0, 0], ALL, coverage=0.5)
    assert (found.value, found.coverage, found.risk) == (0.2, 1.0, 1 / 4)
    found = least_risk([0.9, 0.8, 0.7, 0.2], [0, 0, 1, 1], ALL, coverage=0.5)
    assert (found.value, found.coverage, found.risk) == (0.8, 0.5, 0.0)
    assert found.bound == pytest.approx(1 - 0.1**0.5)


def test_equal_values_stand_or_fall_together() -> None:
    found = least_risk([0.5, 0.5, 0.5, 0.1], [0, 1, 0, 1], ALL, coverage=0.25)
    assert (found.value, found.coverage, found.risk) == (0.5, 0.75, 1 / 3)


def test_a_reader_that_answers_too_little_answers_all_it_can() -> None:
    found = least_risk([0.9, 0.8, 0.0, 0.0], [0, 1, 0, 0], [True, True, False, False], coverage=0.8)
    assert (found.value, found.coverage, found.risk) == (0.8, 0.5, 0.5)
    found = least_risk([0.0, 0.0], [0, 0], [False, False], coverage=0.8)
    assert (found.value, found.coverage, found.risk, found.bound) == (None, 0.0, None, 1.0)
    assert not found.answers(1.0)


VALUES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
LOSSES = [0, 0, 0, 0, 0, 1, 1, 1]


def test_guaranteed_risk_by_hand() -> None:
    # 8 values: at most 4 looks, each at delta / 4 = .025. Four right: 1 - .025^(1/4) = .602; then one of six wrong: .641; then five: .522.
    found = guaranteed_risk(VALUES, LOSSES, [True] * 8, risk=0.61, delta=0.1)
    assert (found.value, found.coverage, found.risk) == (0.5, 5 / 8, 0.0)
    assert found.bound == pytest.approx(1 - 0.025 ** (1 / 5))
    # the first look, at four, fails, and so do all below it
    found = guaranteed_risk(VALUES, LOSSES, [True] * 8, risk=0.6, delta=0.1)
    assert (found.value, found.coverage, found.bound) == (None, 0.0, 1.0)


def test_the_guarantee_holds_in_repeated_draws() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        sure = rng.random(200)
        wrong = (rng.random(200) > sure).astype(float)  # a calibrated reader
        found = guaranteed_risk(sure.tolist(), wrong.tolist(), [True] * 200, risk=0.2, delta=0.1)
        true_risk = 0.0 if found.value is None else (1 - found.value) / 2  # of answers at or above the threshold
        broken += true_risk > 0.2
    assert broken <= 30


QUERIES = [Query("1", "a?", ("x",)), Query("2", "b?", ("x",)), Query("3", "c?")]
ANSWERS = [
    Answer("1", "a?", "x", confidence=0.9),
    Answer("2", "b?", "y", confidence=0.8),
    Answer("3", "c?", "", abstained=True, confidence=0.95),
]


def test_a_threshold_from_dev_answers() -> None:
    values = [answer.confidence for answer in ANSWERS]
    found = tune_threshold(ANSWERS, QUERIES, values, "confidence", "coverage", 0.3)
    assert (found.value, found.coverage, found.risk) == (0.9, 1 / 2, 0.0)
    assert (found.questions, found.unanswerable) == (3, 1)
    shuffled = tune_threshold(ANSWERS[::-1], QUERIES, values[::-1], "confidence", "coverage", 0.3)
    assert shuffled == found


def test_questions_without_an_answer_are_refused_as_far_as_the_others_allow() -> None:
    # three with an answer, all right, at .9, .6 and .5; two without, answered at .8 and .55
    values, losses, counts = [0.9, 0.8, 0.6, 0.55, 0.5], [0, 1, 0, 1, 0], [True, False, True, False, True]
    found = least_risk(values, losses, [True] * 5, 2 / 3, counts=counts)
    assert (found.value, found.coverage, found.risk, found.unanswerable) == (0.6, 2 / 3, 1 / 3, 2)
    found = least_risk(values, losses, [True] * 5, 0.3, counts=counts)
    assert (found.value, found.coverage, found.risk) == (0.9, 1 / 3, 0.0)
    found = least_risk(values, losses, [True] * 5, 1.0, counts=counts)  # none of the others may be lost
    assert (found.value, found.coverage, found.risk) == (0.5, 1.0, 2 / 5)
    only_vain = least_risk([0.9], [1], [True], 0.5, counts=[False])
    assert (only_vain.value, only_vain.coverage, only_vain.risk) == (0.9, 0.0, 1.0)


def test_a_sentence_that_agrees_is_wrong_for_one_loss_and_right_for_the_other() -> None:
    queries = [Query("1", "Where?", ("Oslo",)), Query("2", "Who?", ("Lund",)), Query("3", "Why?")]
    said = ["It lies in Oslo.", "It was Berg.", "Because."]
    answers = [Answer(one.query_id, one.text, text) for one, text in zip(queries, said, strict=True)]
    values = [0.9, 0.5, 0.7]
    exact = tune_threshold(answers, queries, values, "confidence", "coverage", 0.5)
    assert (exact.value, exact.risk) == (0.5, 1.0)
    facts = tune_threshold(answers, queries, values, "confidence", "coverage", 0.5, loss="fact-conflicting")
    assert (facts.value, facts.coverage, facts.risk) == (0.9, 0.5, 0.0)
    assert [answer_loss(*both, "fact-conflicting") for both in zip(answers, queries, strict=True)] == [0.0, 1.0, 1.0]


def test_thresholds_are_tuned_on_the_loss_that_is_measured() -> None:
    query = Query("1", "Was it 1994 or 1998?", ("1998",))
    given = Answer("1", query.text, "1998 and 1994")
    assert answer_loss(given, query, "fact-conflicting") == 0.0
    assert fact_conflicts([given], {"1": query}) == {"1": False}
    other = Query("1", "When was it?", ("1998",))
    again = Answer("1", other.text, "1998 and 1994")
    assert answer_loss(again, other, "fact-conflicting") == 1.0
    assert fact_conflicts([again], {"1": other}) == {"1": True}


def test_no_dev_answers_no_threshold() -> None:
    with pytest.raises(DataError, match="0 dev answers to 0 dev questions: a threshold needs at least one question"):
        tune_threshold([], [], [], "confidence", "risk", 0.1)
    with pytest.raises(DataError, match="2 dev answers to 3 dev questions"):
        tune_threshold(ANSWERS[:2], QUERIES, [1, 1], "confidence", "risk", 0.1)
    with pytest.raises(ConfigError, match=r"coverage 0, delta 0.1: expected a coverage above 0 and at most 1"):
        least_risk([0.5], [0], [True], 0)
    with pytest.raises(DataError, match="1 values, 2 losses and 1 marks"):
        least_risk([0.5], [0, 1], [True], 0.5)
    with pytest.raises(DataError, match="a loss is neither 0 nor 1"):
        least_risk([0.5], [0.5], [True], 0.5)


def test_a_threshold_is_saved_and_loaded(tmp_path: Path) -> None:
    for found in (guaranteed_risk(VALUES, LOSSES, [True] * 8, 0.61), guaranteed_risk([0.5], [1], [True], 0.1)):
        found.save(tmp_path / "threshold.json")
        assert Threshold.load(tmp_path / "threshold.json") == found
    with pytest.raises(ArtefactError, match=r"none\.json: not a threshold .* tune it again"):
        Threshold.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"value": "high"}')
    with pytest.raises(ArtefactError, match=r"bad\.json: not a threshold"):
        Threshold.load(tmp_path / "bad.json")


def test_answers_below_the_threshold_are_withdrawn() -> None:
    threshold = least_risk([0.85], [0], [True], 0.5)
    step = Abstention(threshold)
    assert isinstance(step, Mitigation)
    kept, withdrawn, silent = step.revise(ANSWERS, {})
    assert (kept, silent) == (ANSWERS[0], ANSWERS[2])
    assert (withdrawn.abstained, withdrawn.text, withdrawn.claims, withdrawn.confidence) == (
        True,
        "I do not know",
        (),
        0.8,
    )
    assert step.revise([replace(ANSWERS[1], question="谁？")], {})[0].text == "我不知道"
    everything = apply([Abstention(replace(threshold, value=None))], ANSWERS, {})
    assert all(answer.abstained for answer in everything)
    assert apply([step], [], {"d": Document("d", "")}) == []
    with pytest.raises(ConfigError, match="a threshold for 'support' cannot judge 'confidence'"):
        Abstention(replace(threshold, signal="support"))
