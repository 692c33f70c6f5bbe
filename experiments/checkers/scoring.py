"""AUROC of checkers, with bootstrap intervals over questions.

AUROC is the probability that a right statement scores higher than a wrong one, ties counting half (Hanley and McNeil 1982). With
M[i, j] = 1, 1/2 or 0 for right statement i against wrong statement j, and a, b how often each was drawn,

    AUROC = a' M b / (sum a * sum b)

so that a bootstrap is two small products. Questions are drawn, with all their statements, because these are not independent.

Invariant: one seed draws the same questions for all scores of the same statements, so that differences between checkers are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.checkers.data import Judged
from genir.errors import DataError
from rag.verification import SupportChecker

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Resampled:
    """A figure, and what it was in each of R drawings of the questions: `drawn` (R,)."""

    value: float
    drawn: np.ndarray

    def minus(self, other: "Resampled") -> "Resampled":
        """The paired difference from another figure of the same statements under the same seed."""
        return Resampled(self.value - other.value, self.drawn - other.drawn)

    def interval(self) -> Interval:
        """The figure with its interval."""
        low, high = np.quantile(self.drawn, [0.025, 0.975])
        return Interval(float(self.value), float(low), float(high))


def auroc(scores: Sequence[float], judged: Sequence[Judged], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """See the module. Raises DataError where all statements are right, or all are wrong."""
    return resampled_auroc(scores, judged, seed, resamples).interval()


def resampled_auroc(
    scores: Sequence[float], judged: Sequence[Judged], seed: int = 0, resamples: int = RESAMPLES
) -> Resampled:
    """The same with every drawing, for differences."""
    values = np.asarray(scores, dtype=np.float64)
    right = np.array([one.right for one in judged])
    if not right.any() or right.all():
        raise DataError(
            f"AUROC of {int(right.sum())} right and {int((~right).sum())} wrong statements: expected both kinds"
        )
    groups = np.unique([one.group for one in judged], return_inverse=True)[1]
    above = np.subtract.outer(values[right], values[~right])
    wins = 0.5 * (1 + np.sign(above))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(groups.max() + 1, np.full(groups.max() + 1, 1 / (groups.max() + 1)), size=resamples)
    a, b = drawn[:, groups[right]], drawn[:, groups[~right]]  # (resamples, right), (resamples, wrong)
    weights = a.sum(1) * b.sum(1)
    kept = weights > 0
    return Resampled(float(wins.mean()), ((a @ wins) * b).sum(1)[kept] / weights[kept])


def score_statements(checker: SupportChecker, judged: Sequence[Judged]) -> list[float]:
    """What a checker ranks statements by: its probability of support minus that of contradiction."""
    found = checker.check([one.statement for one in judged])
    return [one.supported - one.contradicted for one in found]
