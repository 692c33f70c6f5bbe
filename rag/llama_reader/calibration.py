"""What makes the llama reader's confidence mean what it says: one temperature, and the threshold below which it
abstains.

Both are chosen on dev questions, each asked of its passage among wrong ones of the same article, and of wrong ones
alone (`rag.span.calibration.make_cases`). The temperature divides the log-odds of the confidence such that the event
"the answer is an accepted one" is most likely (Guo et al. 2017, arXiv:1706.04599, section 4.2, for two classes); the
threshold is `rag.span.calibration.best_threshold`'s.

Known gap: the wrong passages are easier to tell than those of questions that people made unanswerable on purpose.
"""

from collections.abc import Sequence

import numpy as np

from rag.llama_reader.reader import LlamaReader, calibrated
from rag.scoring import exact_match, f1
from rag.span.calibration import TEMPERATURES, Calibration, Case, calibration_of

_LEAST = 1e-6  # no probability is taken for surer than this


def calibrate(reader: LlamaReader, cases: Sequence[Case]) -> Calibration:
    """Temperature and threshold for `reader`, from cases with and without an answer."""
    plain = reader.with_settings(temperature=1.0, min_confidence=0.0)
    readings = plain.read([case.query.text for case in cases], [case.passages for case in cases])
    raw = np.array([one.confidence for one in readings])
    unanswerable = np.array([case.right is None for case in cases])
    worth, right = np.zeros(len(cases)), np.zeros(len(cases), dtype=bool)
    for row, (one, case) in enumerate(zip(readings, cases, strict=True)):
        if case.right is not None:
            worth[row] = f1(one.text, case.query.answers)
            right[row] = exact_match(one.text, case.query.answers) > 0
    likelihoods = np.array([_nll(raw, right, temperature) for temperature in TEMPERATURES])
    best = int(likelihoods.argmin())
    confidences = np.array([calibrated(float(one), TEMPERATURES[best]) for one in raw])
    return calibration_of(likelihoods, confidences, worth, unanswerable)


def _nll(raw: np.ndarray, right: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood, nats a case, of which answers are right."""
    sure = np.array([calibrated(float(one), temperature) for one in raw]).clip(_LEAST, 1 - _LEAST)
    return float(-np.where(right, np.log(sure), np.log(1 - sure)).mean())
