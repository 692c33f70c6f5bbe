"""How much of a fine-tuning is kept: weights on the way from the encoder as it was to the trained one.

Dev asks what was learnt, so it cannot see what was forgotten of other questions; a difference within its noise is no reason to forget
more. Weights between two states of one network keep more of the first (Wortsman et al. 2022, arXiv:2109.01903).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from genir.measures import as_good
from retrievers.bi_encoder import BiEncoder
from retrievers.dense_training import DenseConfig


def keep_the_least(
    model: BiEncoder, values: Callable[[], np.ndarray], start_dev: float, config: DenseConfig
) -> dict[str, Any]:
    """Set the model to the least of `config.shares` that is as good on dev as the best, but for noise; facts about it.

    `values` measures the dev queries with the model as it is, shape (queries,). None is kept that is below `start_dev`, where another is
    not; all of the way where nothing is found at all.
    """
    end = {name: weight.clone() for name, weight in model.state_dict().items()}
    start = BiEncoder(config.encoder, config.passage_tokens, config.query_tokens).to(model.device).state_dict()
    found: dict[float, np.ndarray] = {}
    for share in sorted(set(config.shares)):
        model.interpolate(start, end, share)
        found[share] = values()
    best = max(found.values(), key=mean)
    good = [share for share, one in found.items() if best.any() and as_good(one, best) and mean(one) >= start_dev]
    kept = min(good, default=1.0)
    model.interpolate(start, end, kept)
    on_dev = {f"{share:g}": mean(one) for share, one in found.items()}
    return {"best_dev": mean(found[kept]), "share": kept, "shares_dev": on_dev}


def mean(values: np.ndarray) -> float:
    """As it is reported."""
    return round(float(values.mean()), 6)
