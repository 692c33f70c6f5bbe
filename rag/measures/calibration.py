"""Does a reader know when it is right? Calibration error with its diagram, and AUROC.

Confidences are probabilities in 0..1 for calibration; for AUROC any score will do, only its order counts.

Invariant: what is not defined is None, never 0 and never NaN: a calibration error of no answers, an AUROC where all are
right or all are wrong. Known gap: the calibration error of few answers is biased upwards, and hangs on the number of
bins; give both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genir.errors import ConfigError, DataError

BINS = 10
Values = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram: answers with a confidence above `low`, up to `high` (the first bin holds 0, too).

    `confidence` and `accuracy` are means over its `count` answers, None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability_diagram(confidences: Values, correct: Values, bins: int = BINS) -> tuple[Bin, ...]:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017, section 2; DeGroot and Fienberg 1983).

    `correct` holds 1 for right and 0 for wrong, or any value in 0..1. Raises ConfigError for bins below 1, DataError
    for values outside 0..1 or for two lengths.
    """
    if bins < 1:
        raise ConfigError(f"bins = {bins}: expected at least one")
    sure, right = _checked("confidence", confidences), _checked("correctness", correct)
    if len(sure) != len(right):
        raise DataError(f"{len(sure)} confidences for {len(right)} answers: expected one each")
    edges = np.linspace(0.0, 1.0, bins + 1)
    number = np.maximum(np.searchsorted(edges, sure, side="left") - 1, 0)
    diagram = []
    for i in range(bins):
        inside = number == i
        count = int(inside.sum())
        means = (float(sure[inside].mean()), float(right[inside].mean())) if count else (None, None)
        diagram.append(Bin(float(edges[i]), float(edges[i + 1]), count, *means))
    return tuple(diagram)


def expected_calibration_error(confidences: Values, correct: Values, bins: int = BINS) -> float | None:
    """ECE = sum_m |B_m| / n |acc(B_m) - conf(B_m)| (Guo et al. 2017, eq. 3; Naeini et al. 2015); None without answers.

    Bins and errors are those of `reliability_diagram`.
    """
    diagram = reliability_diagram(confidences, correct, bins)
    total = sum(one.count for one in diagram)
    if not total:
        return None
    return sum(
        one.count / total * abs(one.accuracy - one.confidence)
        for one in diagram
        if one.accuracy is not None and one.confidence is not None
    )


def auroc(scores: Values, positive: Sequence[bool] | npt.NDArray[np.bool_]) -> float | None:
    """The chance that a positive scores above a negative, ties counted half; None where one kind is missing.

    From ranks, as the statistic of Mann and Whitney (Hanley and McNeil 1982): scikit-learn's `roc_auc_score`, in a fraction of its time,
    which a bootstrap needs. Raises DataError where the lengths differ.
    """
    if len(scores) != len(positive):
        raise DataError(f"{len(scores)} scores for {len(positive)} labels: expected one each")
    right = np.asarray(positive, dtype=bool)
    above, below = int(right.sum()), int((~right).sum())
    if not above or not below:
        return None
    _, group, sizes = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # of equal scores their mean
    return float((ranks[right].sum() - above * (above + 1) / 2) / (above * below))


def _checked(name: str, values: Values) -> npt.NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    wrong = found[~((found >= 0) & (found <= 1))]
    if len(wrong):
        raise DataError(
            f"{name} {wrong[0]:g}: expected values in 0..1; of a mean log-probability take exp(), or calibrate the reader first"
        )
    return found
