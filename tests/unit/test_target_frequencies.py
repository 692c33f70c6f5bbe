"""How often identifiers are right for texts of a kind, and what a softmax makes of it."""

from pathlib import Path

import pytest
import torch

from genir.errors import ConfigError
from genir.objectives import RankingObjective, TrainingBatch
from genir.target_frequencies import TargetFrequencies
from genir.training import Example, TrainingConfig, train
from tests.tiny_text_models import save_tiny_bert
from tests.tiny_training import IDENTIFIERS, TEXTS, make_model

# questions: twice of the first, once of the third; one sentence of each
EXAMPLES = [Example(TEXTS[0], 0), Example(TEXTS[1], 0), Example(TEXTS[2], 2)] + [
    Example(text, target, "pseudo") for target, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


def test_shares_are_counted_kind_by_kind() -> None:
    made = TargetFrequencies.of(EXAMPLES, 5)
    assert made.kinds.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    torch.testing.assert_close(made.shares[0], torch.tensor([2.1, 0.1, 1.1, 0.1, 0.1]) / 3.5)
    torch.testing.assert_close(made.shares[1], torch.full((5,), 0.2))
    # (0, 4) and (0, 5) begin alike
    own = torch.tensor([0, 0, 1, 2, 3])
    torch.testing.assert_close(made.logarithms(own, 4)[0].exp(), torch.tensor([2.2, 1.1, 0.1, 0.1]) / 3.5)


def test_the_losses_compare_scores_and_logarithms_of_shares(encoder: Path) -> None:
    model = make_model(encoder)
    torch.nn.init.normal_(model.correction.weight, std=0.5)
    frequencies = TargetFrequencies.of(EXAMPLES, 5)
    made = RankingObjective(model, IDENTIFIERS, (), 4, 2.0, frequencies=frequencies, balance=0.5)
    asked = TrainingBatch(*model.pad(model.tokenize(TEXTS[:1])), torch.tensor([0]), torch.ones(1), torch.tensor([0]))
    with torch.no_grad():
        text = model.encode(asked.input_ids, asked.attention_mask)
        plain = (text.pooled @ model.codes.weight.T)[0]
        whole = torch.stack([plain[a] + plain[b] for a, b in IDENTIFIERS])
        corrected = model.token_scores(text, torch.tensor([IDENTIFIERS]))[0].sum(-1)
        shift = 0.5 * torch.tensor([2.1, 0.1, 1.1, 0.1, 0.1]).log()
        by_hand = sum(-(2.0 * part + shift).log_softmax(0)[0] for part in (whole, corrected))
        assert float(made.loss(asked)) == pytest.approx(float(by_hand), abs=1e-4)
    with pytest.raises(ConfigError, match="give their numbers"):
        made.loss(TrainingBatch(*asked_without_rows(asked)))


def asked_without_rows(batch: TrainingBatch) -> tuple[torch.Tensor, ...]:
    return batch.input_ids, batch.attention_mask, batch.targets, batch.weights


def test_balance_finds_what_no_question_was_about(encoder: Path, tmp_path: Path) -> None:
    """Questions and sentences read alike here; a document that only a sentence names loses less where shares are taken out."""
    examples = [Example(TEXTS[target], target) for target in (0, 2)] * 8
    config = TrainingConfig(epochs=6, batch_size=4, learning_rate=1e-3, fresh_learning_rate=1e-2, precision="float32")
    lost = {}
    for balance in (0.0, 1.0):
        model = make_model(encoder, layers=0)
        frequencies = TargetFrequencies.of(examples, 5)
        objective = RankingObjective(model, IDENTIFIERS, (1,), frequencies=frequencies, balance=balance)
        before = model.score(TEXTS, IDENTIFIERS).log_softmax(1)
        rising = iter(range(100))
        train(model, objective, examples, lambda rising=rising: float(next(rising)), config, tmp_path / str(balance))  # type: ignore[misc]
        unseen = [1, 3, 4]
        lost[balance] = float((before - model.score(TEXTS, IDENTIFIERS).log_softmax(1))[unseen, unseen].mean())
    assert lost[1.0] < 0.9 * lost[0.0]
