"""Five texts, each with its identifier, and a tiny model that learns them: what tests of training share."""

from pathlib import Path

import torch

from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.objectives import RankingObjective
from genir.training import Example, TrainingConfig

IDENTIFIERS = [(0, 4), (0, 5), (1, 4), (2, 6), (3, 7)]
TEXTS = ["red one", "blue two", "green river", "oslo norway", "lima peru"]
EXAMPLES = [Example(text, target) for target, text in enumerate(TEXTS)] * 3
CONFIG = TrainingConfig(
    epochs=3, batch_size=4, learning_rate=1e-3, fresh_learning_rate=1e-2, precision="float32", seed=7
)


def make_model(encoder: Path, layers: int = 1) -> CodeDecoder:
    """An untrained model over an encoder (`tests.tiny_text_models.save_tiny_bert`); always the same."""
    torch.manual_seed(0)
    return CodeDecoder(CodeDecoderConfig(encoder=str(encoder), layers=layers, heads=2, feedforward=32), 8, 2, None)


def ranking(model: CodeDecoder) -> RankingObjective:
    """Ranking over all identifiers and their first tokens."""
    return RankingObjective(model, IDENTIFIERS, prefixes=(1,), hard_negatives=3)
