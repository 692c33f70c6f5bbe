"""Measures by hand arithmetic; intervals, tests and corrections against full enumeration and known figures."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from genir.errors import ConfigError, DataError
from genir.formats import read_qrels, read_run
from genir.measures import (
    DEFAULT_MEASURES,
    RunScores,
    as_good,
    bootstrap_interval,
    compare,
    compare_scores,
    evaluate,
    evaluate_all,
    holm,
    randomisation_test,
)
from genir.records import Qrels, Run, ScoredDoc

GOLDEN = Path(__file__).parents[1] / "golden"


def run_of(name: str, **rankings: str) -> Run:
    """A run from doc_ids in order: run_of("a", q1="d1 d2")."""
    return Run(
        name,
        {
            query_id: tuple(ScoredDoc(doc_id, 1.0 / rank) for rank, doc_id in enumerate(documents.split(), start=1))
            for query_id, documents in rankings.items()
        },
    )


def test_scores_by_hand() -> None:
    """q1: d1 (gain 1) at rank 2, d3 (gain 2) at rank 3; q2: the only relevant one at rank 2, tied; q3: not answered."""
    scores = evaluate(read_run(GOLDEN / "run.trec"), read_qrels(GOLDEN / "qrels.trec"))
    gained = 1 / np.log2(3) + 2 / np.log2(4)
    ideal = 2 / np.log2(2) + 1 / np.log2(3)
    assert scores.name == "bm25"
    assert scores.per_query["Success@1"] == {"q1": 0.0, "q2": 0.0, "q3": 0.0}
    assert scores.per_query["R@10"] == {"q1": 1.0, "q2": 1.0, "q3": 0.0}
    assert scores.per_query["RR@10"] == {"q1": 0.5, "q2": 0.5, "q3": 0.0}
    assert scores.per_query["nDCG@10"] == pytest.approx({"q1": gained / ideal, "q2": 1 / np.log2(3), "q3": 0.0})
    assert scores.means["R@10"] == pytest.approx(2 / 3)
    assert (scores.unanswered, scores.unjudged) == (1, 1)


@pytest.mark.parametrize(
    ("lost", "is_as_good"),
    [
        ((0.0, 0.0, 0.0), True),
        ((-0.5, 0.0, 0.0), True),  # better
        ((0.5, -0.5, 0.25, 0.0), True),  # .0625, with a standard error of .2135
        ((0.5, 0.5, 0.5, 0.25), False),  # .4375 with one of .0625
        ((0.25,), False),  # one query has no noise
    ],
)
def test_as_good_but_for_noise(lost: tuple[float, ...], is_as_good: bool) -> None:
    best = np.full(len(lost), 0.5)
    assert as_good(best - np.array(lost), best) is is_as_good


def test_every_judged_query_counts() -> None:
    """A run that answers only what it knows must not look better for it."""
    qrels = Qrels({f"q{i}": {"d": 1} for i in range(4)})
    assert evaluate(run_of("shy", q0="d"), qrels).means["Success@1"] == 0.25
    assert evaluate(Run("mute", {}), qrels).means["nDCG@10"] == 0.0
    assert evaluate(Run("blank", {"q0": ()}), qrels).unanswered == 4


def test_a_query_without_a_relevant_document_scores_zero_and_counts() -> None:
    scores = evaluate(run_of("a", q1="d", q2="d"), Qrels({"q1": {"d": 0}, "q2": {"d": 1}}))
    assert set(scores.means.values()) == {0.5}


def test_the_order_of_the_run_is_what_is_scored() -> None:
    """trec_eval would put b before a, and would see no difference between 1 and 1 + 1e-9: single precision."""
    tied = Run("tied", {"q": (ScoredDoc("a", 1.0), ScoredDoc("b", 1.0))})
    close = Run("close", {"q": (ScoredDoc("a", 1.0 + 1e-9), ScoredDoc("b", 1.0))})
    for run in (tied, close):
        assert evaluate(run, Qrels({"q": {"a": 1}}), ["Success@1", "RR", "RR@10"]).means == {
            "Success@1": 1.0,
            "RR": 1.0,
            "RR@10": 1.0,
        }


@pytest.mark.parametrize("name", ["ndcg@10", "nDCG@ten", "Success", "R@0", "nDCG@10; R@10", "", "P@1.5"])
def test_an_unknown_measure_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown measure .* known: .*nDCG@10"):
        evaluate(run_of("a"), Qrels({"q": {"d": 1}}), [name])


def test_an_unknown_measure_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="unknown measure 'ndcg@10': did you mean 'nDCG@10'"):
        evaluate(run_of("a"), Qrels({"q": {"d": 1}}), ["ndcg@10"])


def test_qrels_without_a_query_are_refused() -> None:
    with pytest.raises(DataError, match="nothing to evaluate: the qrels of this split judge no query"):
        evaluate(run_of("a", q="d"), Qrels({}))


# --- bootstrap


def test_the_interval_is_that_of_the_plain_bootstrap() -> None:
    """Drawing counts of distinct values equals drawing queries one by one, up to Monte Carlo error."""
    values = np.random.default_rng(1).choice([0.0, 0.1, 0.25, 0.5, 1.0], size=200)
    rng = np.random.default_rng(2)
    plain = np.quantile(values[rng.integers(0, 200, (20_000, 200))].mean(1), [0.025, 0.975])
    assert bootstrap_interval(values.tolist(), seed=3, resamples=20_000) == pytest.approx(plain, abs=0.004)


def test_the_interval_of_a_proportion_is_the_binomial_one() -> None:
    low, high = bootstrap_interval([1.0] * 300 + [0.0] * 700, seed=0)
    half = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.003)


def test_intervals_repeat_narrow_and_never_leave_the_values() -> None:
    values = [0.0, 0.0, 1.0]
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    wide, narrow = bootstrap_interval(values, 5, level=0.95), bootstrap_interval(values, 5, level=0.2)
    assert 0.0 <= wide[0] <= narrow[0] <= narrow[1] <= wide[1] <= 1.0
    assert bootstrap_interval([0.7], seed=0) == pytest.approx((0.7, 0.7))


def test_intervals_refuse_nonsense() -> None:
    with pytest.raises(DataError, match="at least one value"):
        bootstrap_interval([], seed=0)
    with pytest.raises(ConfigError, match="level must lie between 0 and 1, got 95"):
        bootstrap_interval([1.0], seed=0, level=95)


# --- randomisation


def enumerated(a: list[float], b: list[float]) -> float:
    """The p-value by definition: every way of swapping the pairs."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((1, -1), repeat=len(a))
    ]
    return sum(total >= observed - 1e-9 for total in sums) / len(sums)


@pytest.mark.parametrize("seed", range(5))
def test_few_queries_are_enumerated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.choice([0.0, 0.1, 0.2, 0.3, 0.5, 1.0], size=9).tolist() for _ in range(2))
    assert randomisation_test(a, b, seed=0) == pytest.approx(enumerated(a, b))


def test_known_small_p_values() -> None:
    assert randomisation_test([1.0] * 5, [0.0] * 5, seed=0) == 2 / 32
    assert randomisation_test([1.0] * 10, [0.0] * 10, seed=0) == 2 / 1024
    assert randomisation_test([0.5, 0.5], [0.5, 0.5], seed=0) == 1.0
    # 3 - 1 of four equal differences: |sum| >= 2 unless two and two, 6 of 16
    assert randomisation_test([1, 1, 1, 0], [0, 0, 0, 1], seed=0) == 10 / 16


def test_random_signs_agree_with_full_enumeration() -> None:
    rng = np.random.default_rng(7)
    a, b = (rng.random(14) + 0.25).tolist(), rng.random(14).tolist()
    assert randomisation_test(a, b, seed=1, permutations=40_000) == pytest.approx(enumerated(a, b), abs=0.006)


def test_queries_that_do_not_differ_change_nothing() -> None:
    a, b = [1.0] * 6 + [0.3] * 500, [0.0] * 6 + [0.3] * 500
    assert randomisation_test(a, b, seed=0) == 2 / 64


def test_a_random_p_is_never_zero_and_two_sided() -> None:
    a, b = [1.0] * 200, [0.0] * 200
    assert randomisation_test(a, b, seed=0, permutations=999) == 1 / 1000
    assert randomisation_test(b, a, seed=0, permutations=999) == 1 / 1000


def test_p_is_uniform_when_nothing_differs_but_luck() -> None:
    """Under the null hypothesis about 5 % of tests fall below .05: the test keeps its promise."""
    rng = np.random.default_rng(11)
    p = [
        randomisation_test(rng.random(30).tolist(), rng.random(30).tolist(), seed=i, permutations=500)
        for i in range(400)
    ]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(DataError, match="as many values on both sides, got 1 and 2"):
        randomisation_test([1.0], [1.0, 2.0], seed=0)


# --- many comparisons


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_compare_tests_every_run_against_the_first() -> None:
    qrels = Qrels({f"q{i}": {"good": 1} for i in range(10)})
    first = run_of("first", **{f"q{i}": "bad good" for i in range(10)})
    second = run_of("second", **{f"q{i}": "good bad" for i in range(10)})
    rows = compare([first, second, first], qrels, ["Success@1", "R@10"])
    assert [(row.run, row.measure) for row in rows[:3]] == [
        ("first", "Success@1"),
        ("first", "R@10"),
        ("second", "Success@1"),
    ]
    assert (rows[0].mean, rows[0].delta, rows[0].p, rows[0].p_corrected) == (0.0, None, None, None)
    better = rows[2]
    assert (better.queries, better.mean, better.low, better.high, better.delta) == (10, 1.0, 1.0, 1.0, 1.0)
    assert better.p == 2 / 1024
    assert better.p_corrected == pytest.approx(4 * 2 / 1024)  # four tests stand in this table


def test_compare_refuses_scores_of_different_queries() -> None:
    one, two = (RunScores(name, {"R@10": {name: 1.0}}, {"R@10": 1.0}) for name in "ab")
    with pytest.raises(DataError, match="b and a were scored on different queries"):
        compare_scores([one, two])


def test_one_evaluator_serves_many_runs() -> None:
    qrels = Qrels({"q1": {"a": 1}, "q2": {"b": 1}})
    runs = [run_of("x", q1="a b", q2="a b"), run_of("y", q2="b")]
    assert evaluate_all(iter(runs), qrels) == [evaluate(run, qrels) for run in runs]
    assert tuple(evaluate(runs[0], qrels).means) == DEFAULT_MEASURES
