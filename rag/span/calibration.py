"""What makes the span reader's probabilities mean what they say: one temperature, and the threshold below which it abstains.

Both are chosen on dev questions, each asked twice: of its passage among wrong ones of the same article, and of wrong ones alone.
The temperature minimises the negative log-likelihood of the answer, or of no answer (Guo et al. 2017, arXiv:1706.04599, section 4.2); it
never changes which of a question's spans scores best. The threshold maximises the mean F1 where an abstention counts 1 for a question
without an answer and 0 for one with (SQuAD 2.0's rule, Rajpurkar et al. 2018, arXiv:1806.03822); about half of the cases are of each kind.

Known gap: the wrong passages are easier to tell than those of questions that people made unanswerable on purpose.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from genir.errors import DataError
from genir.records import Document, Query
from rag.scoring import f1
from rag.span.data import Window, answer_places
from rag.span.model import NEVER, log_odds, places_log_odds
from rag.span.negatives import WrongPassages
from rag.span.reader import SpanReader

TEMPERATURES = tuple(float(value) for value in np.geomspace(0.5, 4.0, 43).round(4))


@dataclass(frozen=True, slots=True)
class Case:
    """A question with passages; `right` is the index of the one that answers, None where none does."""

    query: Query
    passages: tuple[Document, ...]
    right: int | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was chosen, and what it is worth on the dev cases: nats an answer before and after, the mean F1 of SQuAD 2.0's rule at the
    threshold, the share of unanswerable questions refused there, and of answerable ones (over-refusal)."""

    temperature: float
    min_confidence: float
    cases: int
    nll_before: float
    nll_after: float
    mean_f1: float
    refusal: float
    over_refusal: float

    def facts(self) -> dict[str, float]:
        """As plain values, rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def make_cases(
    asked: Sequence[tuple[Query, Document]], wrong: WrongPassages, passages: int = 3, seed: int = 0
) -> list[Case]:
    """Two cases a question, of at most `passages` passages in random order: with its own among them, and without.

    Raises DataError where there is no question, or no wrong passage for any.
    """
    rng = random.Random(seed)
    cases = []
    for query, own in asked:
        others = wrong.draw(query, own, rng, passages)
        among = [own, *others[: passages - 1]]
        rng.shuffle(among)
        cases.append(Case(query, tuple(among), among.index(own)))
        if others:
            cases.append(Case(query, tuple(others), None))
    if all(case.right is not None for case in cases):
        raise DataError(
            f"{len(asked)} dev questions and no wrong passage for any of them: calibration needs questions with an answer in their "
            "passage, and other passages beside it"
        )
    return cases


def calibrate(reader: SpanReader, cases: Sequence[Case]) -> Calibration:
    """Temperature and threshold for `reader`, from the cases of `make_cases`."""
    likelihoods = _nll(reader, cases)
    best = int(likelihoods.argmin())
    calm = reader.with_settings(temperature=TEMPERATURES[best], min_confidence=0.0)
    readings = calm.read([case.query.text for case in cases], [case.passages for case in cases])
    confidences = np.array([one.confidence for one in readings])
    worth = np.array(
        [
            0.0 if case.right is None else f1(one.text, case.query.answers)
            for one, case in zip(readings, cases, strict=True)
        ]
    )
    unanswerable = np.array([case.right is None for case in cases])
    return calibration_of(likelihoods, confidences, worth, unanswerable)


def calibration_of(
    likelihoods: np.ndarray, confidences: np.ndarray, worth: np.ndarray, unanswerable: np.ndarray
) -> Calibration:
    """The likeliest of TEMPERATURES, by their negative log-likelihoods (len(TEMPERATURES),), and the best threshold for the confidences
    (N,) that it gives; `worth` and `unanswerable` (N,) as in `best_threshold`."""
    best = int(likelihoods.argmin())
    threshold, mean = best_threshold(confidences, worth, unanswerable)
    refused = confidences < threshold
    return Calibration(
        TEMPERATURES[best],
        threshold,
        len(confidences),
        float(likelihoods[TEMPERATURES.index(1.0)]),
        float(likelihoods[best]),
        mean,
        float(refused[unanswerable].mean()),
        float(refused[~unanswerable].mean()),
    )


def best_threshold(confidences: np.ndarray, worth: np.ndarray, unanswerable: np.ndarray) -> tuple[float, float]:
    """(the lowest threshold with the greatest mean, that mean) over N answers; all inputs (N,).

    An answer at or above the threshold is worth its `worth`, one below it 1 where the question is unanswerable and 0 where not. A threshold
    lies half-way between two confidences, or at 0.
    """
    order = np.argsort(confidences, kind="stable")
    sorted_confidences = confidences[order]
    # means[n]: the n least confident answers are withheld
    withheld = np.concatenate([[0.0], np.cumsum(unanswerable[order].astype(float))])
    given = np.concatenate([np.cumsum(worth[order][::-1])[::-1], [0.0]])
    means = (withheld + given) / len(confidences)
    # Only between distinct confidences can a threshold part them, and it must not lie above 1.
    parts = np.concatenate([[True], np.diff(sorted_confidences) > 0, [sorted_confidences[-1] < 1]])
    n = int(np.where(parts, means, -1.0).argmax())
    if n == 0:
        return 0.0, float(means[0])
    above = sorted_confidences[n] if n < len(order) else 1.0
    return float((sorted_confidences[n - 1] + above) / 2), float(means[n])


@torch.inference_mode()
def _nll(reader: SpanReader, cases: Sequence[Case]) -> np.ndarray:
    """Shape (len(TEMPERATURES),): mean negative log-likelihood, nats a case, of the right answer or of no answer.

    Cases whose answer is no span of their passage are left out: no temperature can make it likely.
    """
    reader = reader.with_settings(temperature=1.0)
    owners: list[int] = []
    windows: list[Window] = []
    places: list[list[tuple[int, int]]] = []
    pairs = [(row, number) for row, case in enumerate(cases) for number in range(len(case.passages))]
    cut = reader.maker.windows([(cases[row].query.text, cases[row].passages[number]) for row, number in pairs])
    for (row, number), found in zip(pairs, cut, strict=True):
        case, passage = cases[row], cases[row].passages[number]
        answer = answer_places(passage.text, case.query.text, case.query.answers) if number == case.right else []
        for window in found:
            spans = {window.token_span(*place) for place in answer} - {None}
            longest = reader.settings.max_answer_tokens
            owners.append(row)
            windows.append(window)
            places.append(sorted(span for span in spans if span and span[1] - span[0] < longest))
    totals = np.zeros((len(TEMPERATURES), len(windows)))
    right = np.full((len(TEMPERATURES), len(windows)), NEVER)
    for rows, scores in reader.scores(windows):
        for number, temperature in enumerate(TEMPERATURES):
            scaled = scores / temperature
            totals[number, rows] = log_odds(scaled).double().cpu().numpy()
            right[number, rows] = places_log_odds(scaled, [places[row] for row in rows]).double().cpu().numpy()
    losses = []
    for row, case in enumerate(cases):
        mine = [index for index, owner in enumerate(owners) if owner == row]
        normaliser = np.logaddexp(np.logaddexp.reduce(totals[:, mine], axis=1), 0.0)
        if case.right is None:
            losses.append(normaliser)
        elif any(places[index] for index in mine):
            losses.append(normaliser - np.logaddexp.reduce(right[:, mine], axis=1))
    mean: np.ndarray = np.mean(losses, axis=0)
    return mean
