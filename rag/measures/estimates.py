"""From per-query values to figures with intervals, those included that are of a whole set: ECE, AUROC, AURC, risk at a
coverage.

Invariants: what is not defined (a mean of no values, an AUROC where every answer is right) is None, with no interval,
never 0 or NaN. Intervals are percentile bootstrap intervals over questions (Efron 1979), so that they pair up with
those of `genir.measures`.

Known gap: a resample in which a figure is not defined is left out of its interval, which is then conditional on its
being defined.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genir.errors import ConfigError, DataError, unknown_name
from genir.measures import bootstrap_interval
from rag.measures.calibration import BINS, auroc, expected_calibration_error
from rag.measures.selective import area_under_risk_coverage, excess_area, risk_at_coverage, risk_coverage

COVERAGES = (0.8, 0.9)
RESAMPLES = 1000  # of figures that are no means, each a sort of all questions
Floats = npt.NDArray[np.float64]
Statistic = Callable[[npt.NDArray[np.intp]], float | None]  # the figure of the questions with these numbers


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; all None where it is not defined."""

    mean: float | None
    low: float | None
    high: float | None


UNDEFINED = Estimate(None, None, None)


def estimates(
    values: Mapping[str, Mapping[str, float]],
    seed: int = 0,
    coverages: Sequence[float] = COVERAGES,
    bins: int = BINS,
    resamples: int = RESAMPLES,
    loss: str = "hallucination",
) -> dict[str, Estimate]:
    """The mean of every measure (`rag.measures.per_question.measure_answers`), and the figures of the whole set.

    Beside the means: "hallucination of answered" (the wrong share of the answered questions), and, from "confidence":
    ECE, AUROC (of right against wrong answers), AURC, E-AURC, and "hallucination at 80 % coverage". A reader that
    answers with confidence 0 always gives none, and leaves these undefined; so is the share at a coverage that it never
    reaches. Means are over the questions that a measure applies to.

    `loss` names another measure of what is wrong, 1 or 0, in place of "hallucination" (an answer that is no exact
    match), such as "fact-conflicting" for readers that answer in sentences. A question that it does not apply to keeps
    its hallucination. Raises ConfigError for a loss that was not measured, DataError for values of different questions.
    """
    found = {measure: _mean(list(by_query.values()), seed) for measure, by_query in values.items()}
    if not {"hallucination", "coverage", "confidence"} <= values.keys():
        return found
    if loss not in values:
        raise unknown_name("loss", loss, values)
    order = list(values["coverage"])
    known = {**values, "loss": {**values["hallucination"], **values[loss]}}
    wrong, given, sure = (_column(known, measure, order) for measure in ("loss", "coverage", "confidence"))
    figures = _figures(wrong, given > 0, sure, coverages, bins, loss)
    return found | {name: estimate(statistic, len(order), seed, resamples) for name, statistic in figures.items()}


def estimate(statistic: Statistic, n: int, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95) -> Estimate:
    """A figure of n questions and its bootstrap interval. For a paired difference let the statistic subtract.

    Raises ConfigError for a level outside 0..1 or resamples below 1.
    """
    if not 0 < level < 1 or resamples < 1:
        raise ConfigError(
            f"level {level}, resamples {resamples}: expected a level between 0 and 1 and at least one resample"
        )
    value = statistic(np.arange(n)) if n else None
    if value is None:
        return UNDEFINED
    rng = np.random.default_rng(seed)
    drawn = (statistic(rng.integers(0, n, n)) for _ in range(resamples))
    defined = [one for one in drawn if one is not None] or [value]
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _figures(
    wrong: Floats, given: npt.NDArray[np.bool_], sure: Floats, coverages: Sequence[float], bins: int, loss: str
) -> dict[str, Statistic]:
    """Name -> statistic, over questions: wrong (0/1), answered or not, confidence."""

    def share_of_answered(rows: npt.NDArray[np.intp]) -> float | None:
        answered = rows[given[rows]]
        return float(wrong[answered].mean()) if len(answered) else None

    figures: dict[str, Statistic] = {f"{loss} of answered": share_of_answered}
    if given.any() and not sure[given].any():
        undefined = ["ECE", "AUROC", "AURC", "E-AURC", *(_at(coverage, loss) for coverage in coverages)]
        return figures | dict.fromkeys(undefined, lambda rows: None)

    def calibration_error(rows: npt.NDArray[np.intp]) -> float | None:
        answered = rows[given[rows]]
        return expected_calibration_error(sure[answered], 1 - wrong[answered], bins)

    def right_above_wrong(rows: npt.NDArray[np.intp]) -> float | None:
        answered = rows[given[rows]]
        return auroc(sure[answered], wrong[answered] == 0)

    def area(rows: npt.NDArray[np.intp]) -> float | None:
        return area_under_risk_coverage(risk_coverage(sure[rows], wrong[rows], given[rows]))

    def excess(rows: npt.NDArray[np.intp]) -> float | None:
        return excess_area(risk_coverage(sure[rows], wrong[rows], given[rows]))

    def at(coverage: float) -> Statistic:
        if len(given) and given.mean() < coverage - 1e-9:  # it abstained too often to be asked that
            return lambda rows: None
        return lambda rows: risk_at_coverage(risk_coverage(sure[rows], wrong[rows], given[rows]), coverage).risk

    figures |= {"ECE": calibration_error, "AUROC": right_above_wrong, "AURC": area, "E-AURC": excess}
    return figures | {_at(coverage, loss): at(coverage) for coverage in coverages}


def _at(coverage: float, loss: str) -> str:
    return f"{loss} at {100 * coverage:g} % coverage"


def _mean(values: Sequence[float], seed: int) -> Estimate:
    if not values:
        return UNDEFINED
    return Estimate(float(np.mean(values)), *bootstrap_interval(values, seed))


def _column(values: Mapping[str, Mapping[str, float]], measure: str, order: Sequence[str]) -> Floats:
    by_query = values[measure]
    if by_query.keys() != values["coverage"].keys():
        raise DataError(f"{measure!r} and 'coverage' have values of different questions: measure them together")
    return np.array([by_query[query_id] for query_id in order])
