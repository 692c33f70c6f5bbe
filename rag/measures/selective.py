"""Answering only where sure: the risk-coverage curve, the area under it, and the risk at a coverage.

Questions are ranked by confidence, surest first. Coverage is the share that is answered, selective risk the mean loss
(1 for a wrong answer) over those (Geifman and El-Yaniv 2017, section 2).

Invariants: among equal confidences the order is not the reader's to choose, so that losses are their mean there (the
expected curve over random orders), and a reader that gives one confidence to all has its plain risk at every coverage.
A question that a reader left unanswered stands last, whatever its confidence, and with loss 1: to cover it, the reader
would have had to guess. That makes curves of different readers, which abstain at different rates, end at the same
coverage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genir.errors import ConfigError, DataError

_ALMOST = 1e-9  # .8 * 10 questions are eight, not nine


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """A curve of N points, surest first.

    Shape (N,) each: `coverage` 1/N, ..., 1; `risk`, the selective risk; `threshold`, the lowest confidence answered
    (minus infinity for what was left unanswered); `loss`, of the question that each point adds. `answered`: how many
    were answered at all.
    """

    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    answered: int

    def __len__(self) -> int:
        return len(self.risk)


@dataclass(frozen=True, slots=True)
class SelectiveRisk:
    """What a reader does at a coverage: the share of wrong ones among the questions answered, and the confidence from
    which on it answers.

    `coverage` is what was reached: less than what was asked for where the reader abstained too often. `risk` and
    `threshold` are None where it answered nothing.
    """

    coverage: float
    risk: float | None
    threshold: float | None


def risk_coverage(
    confidences: Sequence[float] | npt.NDArray[np.float64],
    losses: Sequence[float] | npt.NDArray[np.float64],
    answered: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
) -> RiskCoverage:
    """The risk-coverage curve; `answered` None means all. Raises DataError where lengths differ or a number is not finite."""
    n = len(losses)
    given = np.ones(n, dtype=bool) if answered is None else np.asarray(answered, dtype=bool)
    if len(confidences) != n or len(given) != n:
        raise DataError(
            f"{len(confidences)} confidences, {n} losses and {len(given)} marks: expected one of each a question"
        )
    sure = np.where(given, np.asarray(confidences, dtype=np.float64), -np.inf)
    loss = np.where(given, np.asarray(losses, dtype=np.float64), 1.0)
    if not (np.isfinite(sure[given]).all() and np.isfinite(loss).all()):
        raise DataError("a confidence or a loss is infinite or NaN: expected finite numbers")
    order = np.argsort(-sure, kind="stable")
    threshold = sure[order]
    _, group, sizes = np.unique(-threshold, return_inverse=True, return_counts=True)
    even = np.bincount(group, weights=loss[order], minlength=len(sizes)) / sizes
    ranks = np.arange(1, n + 1)
    return RiskCoverage(ranks / max(1, n), np.cumsum(even[group]) / ranks, threshold, loss[order], int(given.sum()))


def area_under_risk_coverage(curve: RiskCoverage) -> float | None:
    """AURC: the mean selective risk over the coverages 1/N, ..., 1 (Geifman, Uziel and El-Yaniv 2019, section 3); None
    without questions."""
    return float(curve.risk.mean()) if len(curve) else None


def excess_area(curve: RiskCoverage) -> float | None:
    """E-AURC: AURC less that of the best order of the same losses (Geifman, Uziel and El-Yaniv 2019, section 3); None
    without questions.

    Zero means that no order is better. Exact: the paper's r + (1 - r) log(1 - r) for the best order is the limit of
    many 0/1 losses.
    """
    if not len(curve):
        return None
    best = np.cumsum(np.sort(curve.loss)) / np.arange(1, len(curve) + 1)
    return max(0.0, float(curve.risk.mean() - best.mean()))


def risk_at_coverage(curve: RiskCoverage, coverage: float) -> SelectiveRisk:
    """The wrong share of answered questions where the surest `coverage` of all questions (rounded up to a question) are answered.

    Where fewer were answered at all, of these. Raises ConfigError for a coverage outside 0..1 or equal to 0.
    """
    if not 0 < coverage <= 1:
        raise ConfigError(f"coverage {coverage}: expected a share above 0, at most 1")
    asked = min(math.ceil(coverage * len(curve) - _ALMOST), curve.answered)
    if asked <= 0:
        return SelectiveRisk(0.0, None, None)
    return SelectiveRisk(asked / len(curve), float(curve.risk[asked - 1]), float(curve.threshold[asked - 1]))
