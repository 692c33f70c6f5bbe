"""Our AUROC is scikit-learn's, ties included."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rag.measures.calibration import auroc


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 20, 200) / 20  # many ties
    positive = rng.random(200) < scores
    assert auroc(scores, positive) == pytest.approx(float(roc_auc_score(positive, scores)), abs=1e-12)
