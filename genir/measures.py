"""Scores of runs, and how sure we may be of them: ir_measures, bootstrap intervals, paired randomisation tests, Holm.

Invariants: every judged query counts, and one that a run does not answer scores the measure's default (0), so no mean
is taken over answered queries only. What is scored is the order of `Run.rankings`: ir_measures gets ranks, not
scores, because its providers break ties in opposite directions (trec_eval's Success@1 and R@10 by descending doc_id, MS
MARCO's RR@10 by ascending) and trec_eval compares scores in single precision. Without near-ties the values are those of
ir_measures on the original scores.

Known gap: the tests treat queries as independent; questions about the same document are not quite.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genir.errors import ConfigError, DataError, unknown_name
from genir.records import Qrels, Run

DEFAULT_MEASURES = ("Success@1", "R@10", "R@100", "RR@10", "nDCG@10")
_ALSO_KNOWN = (
    "Success@5",
    "Success@10",
    "R@5",
    "R@50",
    "R@1000",
    "P@1",
    "P@10",
    "RR",
    "RR@100",
    "AP",
    "nDCG",
    "nDCG@100",
)
_EXACT_UP_TO = 12  # differing queries: 2 ** 12 sign patterns are fewer than the usual 10,000 random ones
_CHUNK = 1 << 22  # random numbers drawn at once (32 MB)


@dataclass(frozen=True)
class RunScores:
    """One run's values: measure -> query_id -> value for every judged query, and their plain means.

    `unanswered` counts judged queries without a ranking (they score the default), `unjudged` counts ranked queries
    without judgements (they score nothing).
    """

    name: str
    per_query: dict[str, dict[str, float]]
    means: dict[str, float]
    unanswered: int = 0
    unjudged: int = 0


@dataclass(frozen=True)
class Comparison:
    """One run on one measure: mean, bootstrap interval, and the difference from the table's first run.

    `delta`, `p` and `p_corrected` are None in the first run's own rows.
    """

    run: str
    measure: str
    queries: int
    mean: float
    low: float
    high: float
    delta: float | None = None
    p: float | None = None
    p_corrected: float | None = None


def as_good(values: np.ndarray, best: np.ndarray) -> bool:
    """Whether `best`, query by query (N,), is better by no more than the standard error of the differences: for noise, that is."""
    lost = best - values
    noise = lost.std(ddof=1) / math.sqrt(len(lost)) if len(lost) > 1 else 0.0
    return bool(lost.mean() <= noise)


def evaluate(run: Run, qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES) -> RunScores:
    """Scores of one run. Raises ConfigError for an unknown measure, DataError for qrels without a query."""
    return evaluate_all([run], qrels, measures)[0]


def evaluate_all(runs: Iterable[Run], qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES) -> list[RunScores]:
    """Scores of several runs, in order; the evaluator is built once."""
    import ir_measures

    if not len(qrels):
        raise DataError("nothing to evaluate: the qrels of this split judge no query; choose another split")
    parsed = [parse_measure(name) for name in measures]
    evaluator = ir_measures.evaluator(parsed, {query: dict(judged) for query, judged in qrels.judgements.items()})
    return [_scores(run, qrels, parsed, evaluator) for run in runs]


def parse_measure(name: str) -> Any:
    """ir_measures' measure of this name, e.g. "nDCG@10". Raises ConfigError with a suggestion where there is none."""
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        cutoff = measure.params.get("cutoff", 1)
        if any(p.is_available() and p.supports(measure) for p in ir_measures.DefaultPipeline.providers) and cutoff >= 1:
            return measure
    except (NameError, ValueError, TypeError, KeyError, AssertionError):  # what ir_measures raises for a bad name
        pass
    raise unknown_name("measure", name, (*DEFAULT_MEASURES, *_ALSO_KNOWN))


def bootstrap_interval(
    values: Sequence[float], seed: int, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean over queries (Efron 1979).

    Drawing n queries with replacement is drawing counts of the distinct values from a multinomial, and measures take
    few distinct values, so that is what is drawn: the same distribution for a fraction of the work.
    """
    if not len(values):
        raise DataError("an interval needs at least one value")
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level}")
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    n = int(counts.sum())
    means = [rng.multinomial(n, counts / n, size=rows) @ distinct / n for rows in _chunks(resamples, len(distinct))]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def randomisation_test(a: Sequence[float], b: Sequence[float], seed: int, permutations: int = 10_000) -> float:
    """Two-sided p of the paired randomisation test on the difference of means (Fisher; Smucker et al. 2007).

    Under the null hypothesis a query's two values could be swapped, so every difference could have either sign. With at
    most 12 queries that differ all sign patterns are counted; else `permutations` random ones, and p = (hits + 1) /
    (permutations + 1), which is never 0. Queries without a difference change nothing and are left out.
    """
    if len(a) != len(b):
        raise DataError(f"a paired test needs as many values on both sides, got {len(a)} and {len(b)}")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    # Rounded, so that .3 - .1 and .2 are one size; a size that occurs c times has a binomial number of plus signs.
    sizes = np.round(np.abs(differences), 12)
    size, count = np.unique(sizes[sizes > 0], return_counts=True)
    observed = abs(float(differences.sum())) - 1e-9
    n = int(count.sum())
    if n <= _EXACT_UP_TO:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs((2 * patterns - 1) @ np.repeat(size, count)) >= observed))
    rng = np.random.default_rng(seed)
    hits = 0
    for rows in _chunks(permutations, len(size)):
        plus = rng.binomial(count, 0.5, size=(rows, len(size)))
        hits += int(np.count_nonzero(np.abs((2 * plus - count) @ size) >= observed))
    return (hits + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the given order: the chance of any false alarm among them."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[index]))
        corrected[index] = highest
    return corrected


def compare(
    runs: Sequence[Run], qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES, seed: int = 0
) -> list[Comparison]:
    """A row for every run and measure, run by run, each tested against the first run; see `compare_scores`."""
    return compare_scores(evaluate_all(runs, qrels, measures), seed)


def compare_scores(scores: Sequence[RunScores], seed: int = 0) -> list[Comparison]:
    """`compare` for runs that are already scored, on the same qrels and measures.

    Holm's correction covers all tests of the table: (runs - 1) x measures. Raises DataError where the queries differ.
    """
    rows: list[Comparison] = []
    for run in scores:
        for measure, values in run.per_query.items():
            first = scores[0].per_query[measure]
            if values.keys() != first.keys():
                raise DataError(
                    f"{run.name} and {scores[0].name} were scored on different queries: score them together"
                )
            mine = list(values.values())
            row = Comparison(run.name, measure, len(mine), run.means[measure], *bootstrap_interval(mine, seed))
            if run is not scores[0]:
                p = randomisation_test(mine, [first[query_id] for query_id in values], seed)
                row = replace(row, delta=row.mean - scores[0].means[measure], p=p)
            rows.append(row)
    corrected = iter(holm([row.p for row in rows if row.p is not None]))
    return [row if row.p is None else replace(row, p_corrected=next(corrected)) for row in rows]


def _scores(run: Run, qrels: Qrels, measures: Sequence[Any], evaluator: Any) -> RunScores:
    ranks = {
        query_id: {scored.doc_id: float(-rank) for rank, scored in enumerate(ranking)}
        for query_id, ranking in run.rankings.items()
        if query_id in qrels.judgements and ranking
    }
    per_query = {str(measure): dict.fromkeys(qrels, float(measure.DEFAULT)) for measure in measures}
    for metric in evaluator.iter_calc(ranks):
        per_query[str(metric.measure)][metric.query_id] = float(metric.value)
    means = {name: float(np.mean(list(values.values()))) for name, values in per_query.items()}
    unjudged = sum(query_id not in qrels.judgements for query_id in run.rankings)
    return RunScores(run.name, per_query, means, len(qrels) - len(ranks), unjudged)


def _chunks(rows: int, width: int) -> Iterable[int]:
    """`rows` in parts whose product with `width` stays within memory."""
    step = max(1, _CHUNK // width)
    return (min(step, rows - start) for start in range(0, rows, step))
