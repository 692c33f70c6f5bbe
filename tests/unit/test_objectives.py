"""What training minimises: the ranking loss and cross-entropy, by hand."""

import math
from pathlib import Path

import pytest
import torch

from genir.objectives import CrossEntropyObjective, RankingObjective, TrainingBatch
from tests.tiny_text_models import save_tiny_bert
from tests.tiny_training import IDENTIFIERS, TEXTS, make_model


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


def test_ranking_loss_by_hand(encoder: Path) -> None:
    """Without decoder layers: the mean over prefix lengths of softmax cross-entropy over sums of dot products."""
    model = make_model(encoder, layers=0)
    objective = RankingObjective(model, IDENTIFIERS, prefixes=(1,), scale=2.0)
    batch = TrainingBatch(*model.pad(model.tokenize(TEXTS[:1])), torch.tensor([2]), torch.ones(1))
    loss = objective.loss(batch)
    logits = (model.encode(batch.input_ids, batch.attention_mask).pooled @ model.codes.weight.T)[0]
    firsts = 2.0 * logits[torch.tensor([0, 1, 2, 3])]
    wholes = 2.0 * torch.stack([logits[a] + logits[b] for a, b in IDENTIFIERS])
    by_hand = -(firsts.log_softmax(0)[1] + wholes.log_softmax(0)[2]) / 2
    torch.testing.assert_close(loss, by_hand)


def test_hard_negatives_by_hand(encoder: Path) -> None:
    """With every other identifier as a negative, the second part is a softmax over what `score` says of all of them."""
    model = make_model(encoder)
    torch.nn.init.normal_(model.correction.weight, std=0.5)
    batch = TrainingBatch(*model.pad(model.tokenize(TEXTS[:1])), torch.tensor([2]), torch.ones(1))
    first = RankingObjective(model, IDENTIFIERS, prefixes=(), hard_negatives=0, scale=2.0)
    both = RankingObjective(model, IDENTIFIERS, prefixes=(), hard_negatives=4, scale=2.0)
    second = both.loss(batch) - first.loss(batch)
    by_hand = -(2.0 * model.score(TEXTS[:1], IDENTIFIERS)[0]).log_softmax(0)[2]
    torch.testing.assert_close(second, by_hand, atol=1e-4, rtol=1e-4)


def test_an_identifier_under_the_same_prefix_is_no_negative_of_it(encoder: Path) -> None:
    """(0, 4) and (0, 5) share their first token: its ranking sets it against 1, 2 and 3, once each."""
    model = make_model(encoder)
    batch = TrainingBatch(*model.pad(model.tokenize(TEXTS[:1])), torch.tensor([0]), torch.ones(1))
    losses = {hard: RankingObjective(model, IDENTIFIERS, (1,), hard, 2.0).loss(batch) for hard in (0, 4)}
    logits = (model.encode(batch.input_ids, batch.attention_mask).pooled @ model.codes.weight.T)[
        0
    ]  # the untrained correction is zero
    firsts = -(2.0 * logits[torch.tensor([0, 1, 2, 3])]).log_softmax(0)[0]
    wholes = -(2.0 * torch.stack([logits[a] + logits[b] for a, b in IDENTIFIERS])).log_softmax(0)[0]
    torch.testing.assert_close(losses[4], (2 * firsts + 2 * wholes) / 2)
    torch.testing.assert_close(losses[0], (firsts + wholes) / 2)


def test_cross_entropy_ignores_what_lies_behind_the_end() -> None:
    class Fixed:
        end_token: int | None = 3

        def step_logits(self, input_ids: torch.Tensor, mask: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*tokens.shape, 4)

    objective = CrossEntropyObjective(Fixed(), [(0,), (0, 1, 2)])
    ids = torch.zeros(2, 1, dtype=torch.long)
    loss = objective.loss(TrainingBatch(ids, ids, torch.tensor([0, 1]), torch.ones(2)))
    assert float(loss) == pytest.approx(float(torch.log(torch.tensor(4.0))))


def test_cross_entropy_takes_the_scaled_logits() -> None:
    class Fixed:
        end_token: int | None = None

        def step_logits(self, input_ids: torch.Tensor, mask: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[[0.1, 0.3]]])

    batch = TrainingBatch(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([0]), torch.ones(1))
    loss = CrossEntropyObjective(Fixed(), [(0,), (1,)], scale=20.0).loss(batch)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(20 * 0.2)))
