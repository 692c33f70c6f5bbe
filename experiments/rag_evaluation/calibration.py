"""What is chosen on dev questions for each reader with each retriever: how probable its confidence makes a right answer, and from where
on it answers.

Probability: Platt scaling (Platt 1999; Guo et al. 2017, section 4), p = 1 / (1 + exp(-(a logit(c) + b))), fitted on dev questions that have
an answer. Threshold: of least risk among those that keep answering the wanted share of these; dev questions without an answer, where the
data set has some, are risk and not coverage, so that their refusal is tuned, too (`rag.abstention`).

Invariants: test questions decide nothing here; a never falls below 0, so that the order of confidences stays (with a = 0, where dev
says that the confidence tells nothing, all answers are equally probable); a reader that gives no confidence, or answered no dev
question that has an answer, has no calibration. Known gap: where no dev question lacks an answer, the threshold is tuned for wrong answers
alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rag.abstention import Threshold, least_risk
from rag.measures.calibration import expected_calibration_error
from rag.measures.estimates import RESAMPLES, Estimate, estimate
from rag.measures.per_question import PerQuery

TUNED = "(tuned)"  # behind measures after withdrawing what lies below the threshold of dev
_LEAST = 0.01  # confidences nearer to 0 or 1 are taken for this far away: a few certain ones must not decide the fit
_STRENGTH = 100.0  # inverse regularisation of the fit, weak


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted on `questions` dev questions that have an answer, `answered` of which the reader answered; the threshold may know of more."""

    slope: float
    intercept: float
    threshold: Threshold
    questions: int
    answered: int

    def probability(self, confidence: float) -> float:
        """Of being right, 0..1."""
        return 1 / (1 + math.exp(-(self.slope * _logit(confidence) + self.intercept)))


def calibrate(dev: PerQuery, loss: str, coverage: float) -> Calibration | None:
    """The calibration of a reader by its measures on dev questions; None where it answered none, or never with a confidence.

    Questions that have the measure "refusal" are those without an answer.
    """
    order = list(dev["coverage"])
    given = [dev["coverage"][query_id] > 0 for query_id in order]
    sure = [dev["confidence"][query_id] for query_id in order]
    wrong = [_loss(dev, loss, query_id) for query_id in order]
    counts = [query_id not in dev.get("refusal", {}) for query_id in order]
    kept = [row for row, there in enumerate(given) if there and counts[row]]
    if not any(sure[row] > 0 for row in kept):
        return None
    slope, intercept = _platt([sure[row] for row in kept], [1 - wrong[row] for row in kept])
    threshold = least_risk(sure, wrong, given, coverage, counts=counts)
    return Calibration(slope, intercept, threshold, sum(counts), len(kept))


def tuned(values: PerQuery, calibration: Calibration) -> PerQuery:
    """The measures with those after the threshold behind them: an answer below it counts as an abstention."""
    kept = {
        query_id: given > 0 and calibration.threshold.answers(values["confidence"][query_id])
        for query_id, given in values["coverage"].items()
    }
    unanswerable = values.get("refusal", {})
    always, never = dict.fromkeys(kept, 1.0), dict[str, float]()
    right = dict.fromkeys(unanswerable, 1.0)
    silent = {"EM": right, "F1": right, "refusal": always, "over-refusal": always}  # what silence scores; elsewhere 0
    more: PerQuery = {}
    for measure in ("EM", "F1", "hallucination", "fact-conflicting", "coverage", "refusal", "over-refusal"):
        if values.get(measure):
            more[f"{measure} {TUNED}"] = {
                query_id: value if kept[query_id] else silent.get(measure, never).get(query_id, 0.0)
                for query_id, value in values[measure].items()
            }
    return {**values, **more}


def calibrated_figures(
    values: PerQuery, calibration: Calibration, loss: str, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Figures of the whole set that hang on what dev decided: the calibration error of the fitted probabilities, and the wrong share of
    what is still answered above the threshold.
    """
    order = list(values["coverage"])
    given = np.array([values["coverage"][query_id] > 0 for query_id in order])
    wrong = np.array([_loss(values, loss, query_id) for query_id in order])
    sure = np.array([calibration.probability(values["confidence"][query_id]) for query_id in order])
    kept = np.array([values[f"coverage {TUNED}"][query_id] > 0 for query_id in order])

    def error(rows: "np.ndarray") -> float | None:
        answered = rows[given[rows]]
        return expected_calibration_error(sure[answered], 1 - wrong[answered])

    def share(rows: "np.ndarray") -> float | None:
        answered = rows[kept[rows]]
        return float(wrong[answered].mean()) if len(answered) else None

    return {
        "ECE (calibrated)": estimate(error, len(order), seed, resamples),
        f"{loss} of answered {TUNED}": estimate(share, len(order), seed, resamples),
    }


def probabilities(values: PerQuery, calibration: Calibration | None, loss: str) -> tuple[list[float], list[float]]:
    """(probability of being right, 1 for right and 0 for wrong) of every answered question; the confidence as it is without calibration."""
    answered = [query_id for query_id, given in values["coverage"].items() if given]
    sure = [values["confidence"][query_id] for query_id in answered]
    right = [1 - _loss(values, loss, query_id) for query_id in answered]
    return [one if calibration is None else calibration.probability(one) for one in sure], right


def _loss(values: Mapping[str, Mapping[str, float]], loss: str, query_id: str) -> float:
    """The loss of a question; its hallucination where the loss does not apply to it, as in `rag.measures.estimates`."""
    return values[loss].get(query_id, values["hallucination"][query_id])


def _platt(sure: Sequence[float], right: Sequence[float]) -> tuple[float, float]:
    """(slope, intercept); a constant, Laplace's estimate of the share of right ones, where the confidence tells nothing."""
    rate = (sum(right) + 1) / (len(right) + 2)
    constant = 0.0, math.log(rate / (1 - rate))
    if len(set(right)) < 2 or len(set(sure)) < 2:
        return constant
    from sklearn.linear_model import LogisticRegression

    features = np.array([[_logit(one)] for one in sure])
    fitted = LogisticRegression(C=_STRENGTH).fit(features, np.asarray(right) > 0)
    slope = float(fitted.coef_[0, 0])
    return (slope, float(fitted.intercept_[0])) if slope > 0 else constant


def _logit(confidence: float) -> float:
    inside = min(max(confidence, _LEAST), 1 - _LEAST)
    return math.log(inside / (1 - inside))
