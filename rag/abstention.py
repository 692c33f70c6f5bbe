"""When to keep silent: a threshold on how sure an answer is, chosen on dev answers for a target, and saved.

Two targets. *Coverage*: answer at least that share of questions, with the least risk. *Risk*: answer as many as possible while, with
probability 1 - delta over the draw of the dev questions, the share of wrong ones among the answered stays within the target (selection with
guaranteed risk: Geifman and El-Yaniv 2017, algorithm 1).

Risk is the share of answered questions whose answer is wrong, by a loss: hallucination (no exact match, `rag.scoring`) or fact-conflicting
(`rag.measures.hallucination`, for readers that answer in sentences). A question is answered where its value is at least the threshold. A
question that the reader left unanswered is answered at no threshold, but counts for coverage. One that has no answer is wrong wherever it
is answered, and does not count for coverage: so a threshold for coverage c refuses at most 1 - c of those that have one, beside those that
the reader refuses by itself, and as many of the others as it can.

Invariants: thresholds are values that dev answers had; where no threshold meets the target, `value` is None and nothing is answered. Known
gap: the guarantee is for questions from the dev questions' distribution, independently drawn.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from genir.config import from_mapping
from genir.errors import ArtefactError, ConfigError, DataError, GenirError
from genir.manifest import write_json
from genir.records import Answer, Query
from rag.measures.hallucination import fact_conflicting
from rag.scoring import one_each, score_answer

Target = Literal["coverage", "risk"]
Loss = Literal["hallucination", "fact-conflicting"]
DELTA = 0.1  # chance that a guarantee does not hold


@dataclass(frozen=True, slots=True)
class Threshold:
    """Answer where the signal is at least `value`; None: nowhere.

    `signal`: what is compared (`rag.mitigations.signals`). `target` and `wanted`: what it was chosen for. `coverage` and `risk`: what it
    gave on the `questions` of dev, `unanswerable` of which had no answer and did not count for coverage; `risk` is None where it answered
    none. `bound`: with probability 1 - `delta` the risk is at most that;
    for the target coverage it is the bound at this one threshold, which was chosen on the same questions, and so is no guarantee.
    """

    value: float | None
    signal: str
    target: Target
    wanted: float
    coverage: float
    risk: float | None
    bound: float
    questions: int
    delta: float = DELTA
    unanswerable: int = 0

    def answers(self, value: float) -> bool:
        """Whether a question with this value is answered."""
        return self.value is not None and value >= self.value

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Threshold":
        """What `save` wrote. Raises ArtefactError where it is missing or broken."""
        try:
            return from_mapping(cls, json.loads(path.read_text(encoding="utf-8")), str(path))
        except (OSError, ValueError, TypeError, GenirError) as error:
            raise ArtefactError(f"{path}: not a threshold ({error}); tune it again on dev answers") from None


def tune_threshold(
    answers: Sequence[Answer],
    queries: Sequence[Query],
    values: Sequence[float],
    signal: str,
    target: Target,
    wanted: float,
    delta: float = DELTA,
    loss: Loss = "hallucination",
) -> Threshold:
    """The threshold for a target, from dev answers with the signal's values; `queries` may have no accepted answer.

    Raises DataError where there are no dev answers or a question lacks one (`rag.scoring.one_each`), ConfigError for a target out of range.
    """
    if not queries or len(answers) != len(queries):
        raise DataError(
            f"{len(answers)} dev answers to {len(queries)} dev questions: a threshold needs at least one question, and an answer to each"
        )
    by_id = {answer.query_id: value for answer, value in zip(answers, values, strict=True)}
    complete = one_each(answers, queries)
    wrong = [answer_loss(*both, loss) for both in zip(complete, queries, strict=True)]
    given = [not answer.abstained for answer in complete]
    counts = [bool(query.answers) for query in queries]
    choose = least_risk if target == "coverage" else guaranteed_risk
    return choose([by_id[answer.query_id] for answer in complete], wrong, given, wanted, signal, delta, counts)


def answer_loss(answer: Answer, query: Query, loss: Loss) -> float:
    """1 for a wrong answer, else 0; hallucination where the question has no accepted answer that could be contradicted."""
    if loss == "fact-conflicting" and query.answers:
        return float(not answer.abstained and fact_conflicting(answer.text, query.answers, answer.question))
    return score_answer(answer, query)["hallucination"]


def least_risk(
    values: Sequence[float],
    losses: Sequence[float],
    answered: Sequence[bool],
    coverage: float,
    signal: str = "confidence",
    delta: float = DELTA,
    counts: Sequence[bool] | None = None,
) -> Threshold:
    """The threshold of least risk among those that answer at least `coverage` of the questions; of equals the one that answers most.

    `counts` says which questions count for coverage: those that have an answer (None: all). Where the reader answered fewer of them at
    all, the lowest value that it answered with.
    """
    _check_share("coverage", coverage, delta)
    counted = [True] * len(values) if counts is None else counts
    steps = _steps(values, losses, answered, counted)
    wide = [step for step in steps if step.kept >= coverage * sum(counted) - 1e-9] or steps[-1:]
    best = min(wide, key=lambda step: (step.wrong / step.count, -step.count), default=None)
    return _threshold(best, "coverage", coverage, counted, signal, delta, delta)


def guaranteed_risk(
    values: Sequence[float],
    losses: Sequence[float],
    answered: Sequence[bool],
    risk: float,
    signal: str = "confidence",
    delta: float = DELTA,
    counts: Sequence[bool] | None = None,
) -> Threshold:
    """Selection with guaranteed risk (Geifman and El-Yaniv 2017, algorithm 1): binary search over thresholds.

    At most n = floor(log2 m) + 1 thresholds are looked at, m being the number of distinct values. Each has its bound at delta / n, so that
    all hold at once with probability 1 - delta; of those whose bound is within `risk` the one that answers most is taken. `counts` as in
    `least_risk`; it decides nothing here.
    """
    _check_share("risk", risk, delta)
    counted = [True] * len(values) if counts is None else counts
    steps = _steps(values, losses, answered, counted)
    share = delta / max(1, len(steps).bit_length())
    low, high, best = 0, len(steps) - 1, None
    while low <= high:
        middle = (low + high) // 2
        if risk_bound(steps[middle].wrong, steps[middle].count, share) <= risk:
            best, low = steps[middle], middle + 1
        else:
            high = middle - 1
    return _threshold(best, "risk", risk, counted, signal, delta, share)


def risk_bound(wrong: int, answered: int, delta: float) -> float:
    """The risk that `wrong` of `answered` leaves possible with probability delta: Clopper and Pearson's (1934) upper limit.

    The b with P(at most `wrong` of `answered` | b) = delta (Geifman and El-Yaniv 2017, lemma 3.1), a quantile of the beta distribution.
    1 where nothing was answered, or all of it wrong.
    """
    if wrong >= answered:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(1 - delta, wrong + 1, answered - wrong))


@dataclass(frozen=True, slots=True)
class _Step:
    """What a threshold at `value` answers: `count` questions, `wrong` of them wrongly; `kept` of them count for coverage."""

    value: float
    count: int
    wrong: int
    kept: int


def _steps(
    values: Sequence[float], losses: Sequence[float], answered: Sequence[bool], counts: Sequence[bool]
) -> list[_Step]:
    """One step a distinct value of the answered questions, from the highest to the lowest."""
    if not len(values) == len(losses) == len(answered) == len(counts):
        raise DataError(
            f"{len(values)} values, {len(losses)} losses and {len(answered)} marks: expected one of each a question"
        )
    given = np.asarray(answered, dtype=bool)
    sure: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)[given]
    loss: npt.NDArray[np.float64] = np.asarray(losses, dtype=np.float64)[given]
    if not np.isfinite(sure).all() or not np.isin(loss, (0.0, 1.0)).all():
        raise DataError(
            "a value is not finite, or a loss is neither 0 nor 1: expected finite values and right or wrong"
        )
    distinct, inverse, numbers = np.unique(-sure, return_inverse=True, return_counts=True)
    counted = np.asarray(counts, dtype=np.float64)[given]
    wrong, kept = (
        np.bincount(inverse, weights=weights, minlength=len(distinct)).cumsum() for weights in (loss, counted)
    )
    return [
        _Step(float(-value), int(count), round(float(bad)), round(float(good)))
        for value, count, bad, good in zip(distinct, numbers.cumsum(), wrong, kept, strict=True)
    ]


def _threshold(
    step: _Step | None,
    target: Target,
    wanted: float,
    counts: Sequence[bool],
    signal: str,
    delta: float,
    share: float,
) -> Threshold:
    questions, answerable = len(counts), sum(counts)
    vain = questions - answerable
    if step is None:
        return Threshold(None, signal, target, wanted, 0.0, None, 1.0, questions, delta, vain)
    bound = risk_bound(step.wrong, step.count, share)
    coverage, risk = step.kept / max(1, answerable), step.wrong / step.count
    return Threshold(step.value, signal, target, wanted, coverage, risk, bound, questions, delta, vain)


def _check_share(what: str, share: float, delta: float) -> None:
    if not (0 < share <= 1 and 0 < delta < 1):
        raise ConfigError(
            f"{what} {share}, delta {delta}: expected a {what} above 0 and at most 1, and a delta between 0 and 1"
        )
