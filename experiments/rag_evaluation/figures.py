"""Rows of measures -> figures with intervals, and paired differences from the row that each is compared with.

Intervals are percentile bootstrap intervals over questions, p-values of paired randomisation tests, corrected for all tests of one
table (Holm 1979). A figure of a whole set (AURC, the wrong share of the answered) has a paired bootstrap interval of its difference,
and no p. Costs are counted for all questions together: a question's mean, without an interval.

Invariants: a difference is over the same questions on both sides; a measure that is not defined for a row (no answer at all, no
confidence) is not in its figures, never 0 or NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.rag_evaluation.bench import Row
from experiments.rag_evaluation.calibration import TUNED, calibrated_figures, tuned
from experiments.rag_evaluation.gating import SEARCHES
from experiments.tables import figure
from genir.measures import bootstrap_interval, holm, randomisation_test
from rag.measures.estimates import RESAMPLES, Estimate, estimate, estimates
from rag.measures.per_question import PerQuery
from rag.measures.selective import area_under_risk_coverage, risk_coverage

TESTED = ("EM", "F1", "hallucination", "fact-conflicting", "coverage")
CONSISTENCY = ("unigram inconsistency, average", "semantic entropy (text)", "mean log-probability")
SHOWN = ("EM", "F1", "hallucination", "fact-conflicting", "coverage", "refusal", "over-refusal")
COSTS = {  # heading by key; means a question
    "calls": "model calls",
    SEARCHES: "searches",
    "checks": "checks",
    "tokens": "tokens",
    "words": "words",
    "seconds": "seconds",
}
_REFUSALS = ("over-refusal", f"refusal {TUNED}", f"over-refusal {TUNED}")  # shown where there is something to refuse
Figures = dict[str, dict[str, dict[str, Any]]]  # row -> measure -> {mean, low, high, perhaps delta}, cost -> {mean}
Rows = npt.NDArray[np.intp]


def table_figures(rows: Mapping[str, Row], loss: str, seed: int = 0, resamples: int = RESAMPLES) -> Figures:
    """Every row's figures, with differences where it is compared with another, and costs where they were counted."""
    complete = {name: _complete(row) for name, row in rows.items()}
    found: Figures = {}
    for name, row in rows.items():
        made = _estimates(complete[name], loss, seed, resamples, row.whole)
        if row.calibration is not None:
            made |= calibrated_figures(complete[name], row.calibration, loss, seed, resamples)
        found[name] = {measure: asdict(one) for measure, one in made.items() if one.mean is not None}
    tests = []
    for name, row in rows.items():
        if not row.against:
            continue
        mine, other = complete[name], complete[row.against]
        for measure in TESTED:
            if measure in mine and mine[measure].keys() == other.get(measure, {}).keys():
                tests.append((name, measure, _difference(mine[measure], other[measure], row.against, seed)))
        for measure, delta in _set_differences(mine, other, loss, seed, resamples, row.whole).items():
            if delta.mean is not None and measure in found[name]:
                found[name][measure]["delta"] = {"against": row.against, **asdict(delta)}
    corrected = holm([tested["p"] for *_, tested in tests])
    for (name, measure, tested), p in zip(tests, corrected, strict=True):
        found[name][measure]["delta"] = {**tested, "p_corrected": p}
    for name, row in rows.items():
        costs = {} if row.cost is None else row.cost.each(len(row.values["coverage"]))
        found[name] |= {cost: {"mean": value} for cost, value in costs.items() if cost not in found[name]}
    return found


def table_cells(found: Mapping[str, Mapping[str, Any]], measures: Sequence[str]) -> list[dict[str, Any]]:
    """Rows for a person: "mean [low, high]", and a cost as it is."""
    return [
        {"arm": name}
        | {measure: _with_interval(by_measure[measure], figure) for measure in measures if measure in by_measure}
        for name, by_measure in found.items()
    ]


def difference_cells(found: Mapping[str, Mapping[str, Any]], measures: Sequence[str]) -> list[dict[str, Any]]:
    """A row for a person for each that is compared with another: "+difference [low, high]", with a star where it is significant."""
    rows: list[dict[str, Any]] = []
    for name, by_measure in found.items():
        deltas = {measure: one["delta"] for measure, one in by_measure.items() if "delta" in one}
        if deltas:
            against = next(iter(deltas.values()))["against"]
            shown = {measure: _with_interval(deltas[measure], _signed) for measure in measures if measure in deltas}
            rows.append({"arm": name, "against": against} | shown)
    return rows


def columns(found: Mapping[str, Mapping[str, Any]], loss: str) -> list[str]:
    """The measures to show: those that some row has; and the costs that some row has not for nothing."""
    wanted = (
        *SHOWN,
        *_REFUSALS[1:],
        f"{loss} of answered",
        "AURC",
        f"{loss} at 80 % coverage",
        *CONSISTENCY,
        *_OF_CONDITIONS,
    )
    there = [measure for measure in wanted if any(measure in row for row in found.values())]
    there = there if "refusal" in there else [measure for measure in there if measure not in _REFUSALS]
    costly = [cost for cost in COSTS if any(row.get(cost, {}).get("mean") for row in found.values())]
    return [*there, *(cost for cost in costly if cost not in there)]


def table(found: Mapping[str, Mapping[str, Any]], loss: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows and columns of a data set's part of the summary, for `experiments.tables.show`."""
    measures = columns(found, loss)
    return table_cells(found, measures), {"arm": "arm"} | {measure: COSTS.get(measure, measure) for measure in measures}


def differences(found: Mapping[str, Mapping[str, Any]], loss: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The same of the differences between its rows; no row where none is compared."""
    rows = difference_cells(found, columns(found, loss))
    measures = [measure for measure in columns(found, loss) if any(measure in row for row in rows)]
    return rows, ["arm", "against", *measures]


_OF_CONDITIONS = (
    "says the substitute",
    "keeps the right answer",
    "flipped",
    "flip",
    "right to wrong",
    "wrong to right",
    "abstained to wrong",
)


def _complete(row: Row) -> PerQuery:
    return row.values if row.calibration is None else tuned(row.values, row.calibration)


def _with_interval(one: Mapping[str, Any], worded: Callable[[float], str]) -> str:
    star = "*" if one.get("p_corrected", 1.0) < 0.05 else ""
    interval = f" [{worded(one['low'])}, {worded(one['high'])}]" if "low" in one else ""  # costs have none
    return f"{worded(one['mean'])}{star}{interval}"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if value else "0"


def _difference(mine: Mapping[str, float], other: Mapping[str, float], against: str, seed: int) -> dict[str, Any]:
    """The mean difference over questions, with its interval and p."""
    pairs = [(value, other[query_id]) for query_id, value in mine.items()]
    differences = [one - two for one, two in pairs]
    low, high = bootstrap_interval(differences, seed)
    p = randomisation_test([one for one, _ in pairs], [two for _, two in pairs], seed)
    return {"against": against, "mean": float(np.mean(differences)), "low": low, "high": high, "p": p}


def _estimates(values: PerQuery, loss: str, seed: int, resamples: int, whole: bool) -> dict[str, Estimate]:
    """Means, and figures of the whole set: all of them, or the wrong share of the answered alone."""
    if whole:
        return dict(estimates(values, seed, resamples=resamples, loss=loss))
    found = estimates({measure: one for measure, one in values.items() if measure != "confidence"}, seed)
    table = _arrays(values, loss, list(values["coverage"]))
    return found | {
        f"{loss} of answered": estimate(lambda rows: _wrong_of_answered(table[rows]), len(table), seed, resamples)
    }


def _set_differences(
    mine: PerQuery, other: PerQuery, loss: str, seed: int, resamples: int, whole: bool
) -> dict[str, Estimate]:
    """Differences of figures that are no means, where both rows have the same questions."""
    if "coverage" not in mine or mine["coverage"].keys() != other.get("coverage", {}).keys():
        return {}
    first, second = _arrays(mine, loss, list(mine["coverage"])), _arrays(other, loss, list(mine["coverage"]))

    def less(statistic: Any) -> Estimate:
        def difference(rows: Rows) -> float | None:
            one, two = statistic(first[rows]), statistic(second[rows])
            return None if one is None or two is None else one - two

        return estimate(difference, len(first), seed, resamples)

    found = {f"{loss} of answered": less(_wrong_of_answered)}
    if whole and all(
        not side[:, 1].any() or side[side[:, 1] > 0, 2].any() for side in (first, second)
    ):  # both give confidences
        found["AURC"] = less(_area)
    return found


def _arrays(values: PerQuery, loss: str, order: Sequence[str]) -> npt.NDArray[np.float64]:
    """(N, 3): wrong, answered, confidence."""
    wrong = {**values["hallucination"], **values[loss]}
    return np.array([(wrong[one], values["coverage"][one], values["confidence"][one]) for one in order])


def _wrong_of_answered(table: npt.NDArray[np.float64]) -> float | None:
    given = table[table[:, 1] > 0]
    return float(given[:, 0].mean()) if len(given) else None


def _area(table: npt.NDArray[np.float64]) -> float | None:
    return area_under_risk_coverage(risk_coverage(table[:, 2], table[:, 0], table[:, 1] > 0))
