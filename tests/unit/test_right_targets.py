"""Texts with several right identifiers: none of them, nor what begins like one, is pushed away from its text."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.training.model_config import ModelConfig, make_objective
from genir.distillation import TaughtRankingObjective, TeacherTable, Teaching
from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoder
from genir.objectives import RankingObjective, TrainingBatch
from genir.right_targets import RightTargets
from genir.training import Example, train
from tests.tiny_text_models import tiny_code_decoder
from tests.tiny_training import CONFIG

IDENTIFIERS = [(0, 4), (0, 5), (1, 4), (1, 5), (2, 4)]
EXAMPLES = [Example("some text", 0), Example("some text", 2), Example("another", 3)]
RIGHT = RightTargets.of(EXAMPLES)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CodeDecoder:
    return tiny_code_decoder(tmp_path_factory.mktemp("encoder"), vocab_size=6, length=2)


def batch(model: CodeDecoder, *rows: int, examples: list[Example] = EXAMPLES) -> TrainingBatch:
    chosen = [examples[row] for row in rows]
    padded = model.pad(model.tokenize([one.text for one in chosen]))
    return TrainingBatch(
        *padded, torch.tensor([one.target for one in chosen]), torch.ones(len(rows)), torch.tensor(rows)
    )


def test_the_targets_of_equal_texts_are_right_for_each_other() -> None:
    made = RightTargets.of([Example("a", 3), Example("b", 1), Example("a", 0), Example("a", 3), Example("b", 1)])
    assert made.own == (3, 1, 0, 3, 1)
    assert made.right == ((0, 3), (), (0, 3), (0, 3), ())
    assert made.right[0] is made.right[2]  # memory once a text
    pairs = made.pairs(torch.tensor([1, 2, 0]))
    assert pairs is not None
    assert [one.tolist() for one in pairs] == [[1, 2], [3, 0]]
    assert made.pairs(torch.tensor([1, 4])) is None
    assert made.every(2) == RightTargets((3, 0, 1), ((0, 3), (0, 3), ()))
    assert not RightTargets.of([Example("a", 3), Example("b", 3)])


def test_the_other_right_ones_and_their_prefixes_are_no_negatives(model: CodeDecoder) -> None:
    made = RankingObjective(model, IDENTIFIERS, (1,), 4, 1.0, RIGHT)
    asked = batch(model, 0)
    with torch.no_grad():
        loss = float(made.loss(asked))
        text = model.encode(asked.input_ids, asked.attention_mask)
        plain = (text.pooled @ model.codes.weight.T)[0]
        prefix = plain[[0, 2]]  # (1,) begins another right one
        whole = torch.stack([plain[a] + plain[b] for a, b in (IDENTIFIERS[i] for i in (0, 1, 3, 4))])
        scores = model.token_scores(text, torch.tensor([[IDENTIFIERS[i] for i in (0, 1, 3, 4)]]))[0].cumsum(-1)
        # (0, 5) is under the target's own prefix, (1, 5) under the other right one's: no negatives of it in part 2
        corrected = scores[[0, 3], 0], scores[:, 1]
        by_hand = sum(-part.log_softmax(0)[0] for part in (prefix, whole, *corrected)) / 2
    assert loss == pytest.approx(float(by_hand), abs=1e-5)


def test_a_right_one_under_the_targets_own_prefix_does_not_hide_that(model: CodeDecoder) -> None:
    """(0, 4) and (0, 5) are right: the prefix (0,) is still ranked against the others."""
    examples = [Example("some text", 0), Example("some text", 1)]
    made = RankingObjective(model, IDENTIFIERS, (1,), 0, 1.0, RightTargets.of(examples))
    asked = batch(model, 0, examples=examples)
    with torch.no_grad():
        plain = (model.encode(asked.input_ids, asked.attention_mask).pooled @ model.codes.weight.T)[0]
        whole = torch.stack([plain[a] + plain[b] for a, b in (IDENTIFIERS[i] for i in (0, 2, 3, 4))])
        by_hand = -(plain[:3].log_softmax(0)[0] + whole.log_softmax(0)[0]) / 2
        assert float(made.loss(asked)) == pytest.approx(float(by_hand), abs=1e-5)


def test_right_ones_are_not_mined(model: CodeDecoder) -> None:
    made = RankingObjective(model, IDENTIFIERS, (1,), 3, 1.0, RIGHT)
    scores = torch.tensor([[5.0, 1.0, 4.0, 3.0, 2.0]] * 3)
    targets = torch.tensor([0, 2, 3])
    chosen = made.candidates(scores, targets, made.spared(batch(model, 0, 1, 2)))
    assert chosen.tolist() == [[0, 3, 4, 1], [2, 3, 4, 1], [3, 0, 2, 4]]
    greedy = RankingObjective(model, IDENTIFIERS, (1,), 4, 1.0, RIGHT)
    assert greedy.candidates(scores[:1], targets[:1], greedy.spared(batch(model, 0))).tolist() == [[0, 3, 4, 1, -1]]


def test_no_gradient_pushes_another_right_one_away(model: CodeDecoder) -> None:
    """Identifiers without a token in common: the other right one's tokens must not move at all."""
    identifiers = [(0, 3), (1, 4), (2, 5)]
    examples = [Example("some text", 0), Example("some text", 2)]
    for right, moved in ((RightTargets.of(examples), False), (None, True)):
        model.zero_grad()
        made = RankingObjective(model, identifiers, (1,), 2, 1.0, right)
        made.loss(batch(model, 0, examples=examples)).backward()  # type: ignore[no-untyped-call]
        gradient = model.codes.weight.grad
        assert gradient is not None
        assert bool(gradient[[2, 5]].any()) == moved
        assert gradient[[1, 4]].any()


def test_where_every_identifier_is_right_there_is_nothing_to_lose(model: CodeDecoder) -> None:
    examples = [Example("some text", target) for target in range(5)]
    made = RankingObjective(model, IDENTIFIERS, (1,), 4, 1.0, RightTargets.of(examples))
    with torch.no_grad():
        assert float(made.loss(batch(model, 2, examples=examples))) == pytest.approx(0.0, abs=1e-6)


def test_texts_with_one_right_one_lose_what_they_did_bit_for_bit(model: CodeDecoder) -> None:
    plain = RankingObjective(model, IDENTIFIERS, (1,), 3, 5.0)
    made = RankingObjective(model, IDENTIFIERS, (1,), 3, 5.0, RIGHT)
    with torch.no_grad():
        assert torch.equal(made.loss(batch(model, 2)), plain.loss(batch(model, 2)))
        assert not torch.equal(made.loss(batch(model, 0, 2)), plain.loss(batch(model, 0, 2)))


def test_a_teachers_negatives_spare_the_prefixes_of_right_ones(model: CodeDecoder) -> None:
    """The teacher names (1, 5) alone, which begins like (1, 4), another right one: a negative as a whole, not as a prefix."""
    table = TeacherTable.build([{3: 1.0}, {}, {}], RIGHT)
    settings = (model, IDENTIFIERS, (1,), 0, 1.0)
    made = TaughtRankingObjective(*settings, Teaching(table, weight=0.0), RIGHT)
    with torch.no_grad():
        added = made.loss(batch(model, 0)) - RankingObjective(*settings, RIGHT).loss(batch(model, 0))
        wholes = model.score(["some text"], IDENTIFIERS)[0, [0, 3]]
    assert float(added) == pytest.approx(-float(wholes.log_softmax(0)[0]) / 2, abs=1e-4)


def test_the_numbers_of_the_examples_are_needed(model: CodeDecoder) -> None:
    made = RankingObjective(model, IDENTIFIERS, (1,), 3, 5.0, RIGHT)
    with pytest.raises(ConfigError, match=r"several right identifiers: give the numbers of the examples \(`rows`\)"):
        made.loss(replace(batch(model, 0), rows=None))


@pytest.mark.parametrize("self_distillation", [0.0, 1.0])
def test_training_ranks_both_right_ones_first(model: CodeDecoder, tmp_path: Path, self_distillation: float) -> None:
    """As `genir train` makes its objective; examples are mixed, so that their numbers matter."""
    examples = [*EXAMPLES, Example("third", 1), Example("third", 4)] * 2
    torch.manual_seed(1)
    config = ModelConfig()
    config = replace(config, objective=replace(config.objective, prefixes=(1,), self_distillation=self_distillation))
    objective = make_objective(config, model, IDENTIFIERS, examples)

    def least_margin() -> float:
        scores = model.eval().score(["some text", "third"], IDENTIFIERS)
        model.train()
        return float(
            min(
                scores[0, [0, 2]].min() - scores[0, [1, 3, 4]].max(),
                scores[1, [1, 4]].min() - scores[1, [0, 2, 3]].max(),
            )
        )

    training = replace(CONFIG, epochs=10, learning_rate=3e-3, fresh_learning_rate=3e-2)
    assert train(model, objective, examples, least_margin, training, tmp_path).best > 0.0
