"""Learning the best view: which target is chosen, what is no negative, and the same loss as for that target alone."""

from dataclasses import replace

import pytest
import torch

from genir.best_view import BestViewObjective
from genir.models.code_decoder import CodeDecoder
from genir.objectives import RankingObjective, TrainingBatch
from genir.right_targets import RightTargets
from genir.training import Example
from tests.tiny_text_models import tiny_code_decoder

IDENTIFIERS = [(0, 4), (0, 5), (1, 4), (1, 5), (2, 4)]
VIEWS = [[0, 1, 3], [2], [4, 2]]  # the second and the third document share a view
EXAMPLES = [Example("some text", 0), Example("another text", 1), Example("some text", 2), Example("a third", 2)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CodeDecoder:
    return tiny_code_decoder(tmp_path_factory.mktemp("encoder"), vocab_size=6, length=2)


def batch(model: CodeDecoder, *rows: int) -> TrainingBatch:
    chosen = [EXAMPLES[row] for row in rows]
    padded = model.pad(model.tokenize([one.text for one in chosen]))
    targets = torch.tensor([one.target for one in chosen])
    return TrainingBatch(*padded, targets, torch.ones(len(rows)), torch.tensor(rows))


def objective(model: CodeDecoder, prefixes: tuple[int, ...] = ()) -> BestViewObjective:
    return BestViewObjective(model, IDENTIFIERS, prefixes, 4, 1.0, VIEWS, RightTargets.of(EXAMPLES))


def test_the_target_is_the_view_that_codes_score_highest(model: CodeDecoder) -> None:
    asked = batch(model, 0, 1, 2, 3)
    with torch.no_grad():
        text = model.encode(asked.input_ids, asked.attention_mask)
        plain = text.pooled @ model.codes.weight.T
    scores = torch.stack([plain[:, a] + plain[:, b] for a, b in IDENTIFIERS], dim=1)
    expected = [max(VIEWS[one.target], key=scores[row].tolist().__getitem__) for row, one in enumerate(EXAMPLES)]
    assert objective(model).best(text, asked.targets).tolist() == expected


@pytest.mark.parametrize("prefixes", [(), (1,)])
def test_the_loss_is_that_of_the_chosen_views_with_all_right_ones_spared(
    model: CodeDecoder, prefixes: tuple[int, ...]
) -> None:
    asked, made = batch(model, 0, 1, 2, 3), objective(model, prefixes)
    with torch.no_grad():
        loss = made.loss(asked)
        chosen = made.best(model.encode(asked.input_ids, asked.attention_mask), asked.targets)
        right = RightTargets(tuple(chosen.tolist()), ((0, 1, 2, 3, 4), (2,), (0, 1, 2, 3, 4), (2, 4)))
        plain = RankingObjective(model, IDENTIFIERS, prefixes, 4, 1.0, right)
        torch.testing.assert_close(loss, plain.loss(replace(asked, targets=chosen)))


def test_no_gradient_pushes_another_view_of_the_document_away(model: CodeDecoder) -> None:
    identifiers, examples = [(0, 3), (1, 4), (2, 5)], [Example("some text", 0)]
    made = BestViewObjective(model, identifiers, (), 2, 1.0, [[0, 2], [1]], RightTargets.of(examples))
    padded = model.pad(model.tokenize(["some text"]))
    asked = TrainingBatch(*padded, torch.tensor([0]), torch.ones(1), torch.tensor([0]))
    with torch.no_grad():
        [chosen] = made.best(model.encode(asked.input_ids, asked.attention_mask), asked.targets).tolist()
    model.zero_grad()
    made.loss(asked).backward()  # type: ignore[no-untyped-call]
    gradient = model.codes.weight.grad
    assert gradient is not None
    assert not gradient[list(identifiers[2 - chosen])].any()
    assert gradient[list(identifiers[1])].any()
    model.zero_grad()
