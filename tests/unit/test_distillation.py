"""Teachers: what their tables hold, what the losses are worth by hand, and that a model comes nearer to them."""

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genir.distillation import (
    MovingAverage,
    TaughtRankingObjective,
    TeacherTable,
    Teaching,
    divergence,
    margin_error,
    margin_growth,
)
from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoder
from genir.objectives import RankingObjective, TrainingBatch, repeated
from genir.right_targets import RightTargets
from genir.training import TrainingInterruptedError, train
from tests.tiny_text_models import save_tiny_bert
from tests.tiny_training import CONFIG, EXAMPLES, IDENTIFIERS, TEXTS, make_model

RANKINGS = [{target: 9.0, (target + 1) % 5: 8.0, (target + 2) % 5: 1.0} for target in range(5)] * 3


def right_of(*targets: int, **right: tuple[int, ...]) -> RightTargets:
    """Examples with one right target each, but for `right`: "t0" for the first's."""
    return RightTargets(targets, tuple(right.get(f"t{place}", ()) for place in range(len(targets))))


RIGHT = right_of(*[*range(5)] * 3)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


def taught(model: CodeDecoder, hard_negatives: int = 2, **teaching: object) -> TaughtRankingObjective:
    table = TeacherTable.build(RANKINGS, RIGHT)
    return TaughtRankingObjective(
        model,
        IDENTIFIERS,
        (1,),
        hard_negatives,
        2.0,
        replace(Teaching(table), **teaching),  # type: ignore[arg-type]
    )


def batch(model: CodeDecoder, *targets: int) -> TrainingBatch:
    padded = model.pad(model.tokenize([TEXTS[target] for target in targets]))
    return TrainingBatch(*padded, torch.tensor(targets), torch.ones(len(targets)), torch.tensor(targets))


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_leaves_the_right_ones_out_and_says_where_the_right_one_was_not_found() -> None:
    rankings = [{0: 5.0, 1: 3.0, 2: 1.0}, {3: 2.0, 4: 4.0}, {}, {1: 1.0}]
    table = TeacherTable.build(rankings, right_of(0, 0, 1, 1, t0=(0, 2)))
    assert (len(table), table.found) == (2, 1)
    assert table.row_of.tolist() == [0, 1, -1, -1]  # nobody was asked; nothing wrong was found
    assert table.candidates.tolist() == [[1, -1], [3, 4]]
    unit = 0.5  # the lists' spreads are 0 and 1
    assert table.own[0] == pytest.approx(5.0 / unit)
    assert table.own[1].isnan()
    assert table.scores[1].tolist() == pytest.approx([2.0 / unit, 4.0 / unit])


def test_scores_are_in_units_of_their_spread_whatever_the_teacher_counts_in() -> None:
    table = TeacherTable.build(RANKINGS, RIGHT)
    tenfold = TeacherTable.build([{i: 10 * score for i, score in one.items()} for one in RANKINGS], RIGHT)
    torch.testing.assert_close(table.scores, tenfold.scores)
    torch.testing.assert_close(table.own, tenfold.own)


def test_what_is_drawn_follows_the_random_state_and_is_filled_up() -> None:
    table = TeacherTable.build([{1: 3.0, 2: 2.0, 3: 1.0}, {}, {4: 1.0, 0: 5.0}], right_of(0, 0, 0))
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(table.draw(torch.tensor([0, 1, 2]), 2))
    assert all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(*drawn, strict=True))
    candidates, scores, own = drawn[0]
    assert len(set(candidates[0].tolist()) & {1, 2, 3}) == 2
    assert candidates[1].tolist() == [-1, -1]
    assert candidates[2].tolist() == [4, -1]
    assert own.isnan().tolist() == [True, True, False]
    at = table.candidates[0].tolist()
    assert [float(table.scores[0, at.index(c)]) for c in candidates[0].tolist()] == scores[0].tolist()


def test_all_are_drawn_in_the_long_run() -> None:
    table = TeacherTable.build([{i: float(i) for i in range(1, 9)}], right_of(0))
    torch.manual_seed(0)
    assert {int(table.draw(torch.tensor([0]), 1)[0]) for _ in range(100)} == set(range(1, 9))


def test_a_table_of_nothing() -> None:
    table = TeacherTable.build([{}], right_of(0))
    assert len(table) == 0
    assert table.draw(torch.tensor([0]), 3)[0].shape == (1, 0)


# --- losses by hand ---------------------------------------------------------------------------------------------------


def test_margins_grow_with_the_prefix_steeply_at_first() -> None:
    growth = margin_growth((1, 2, 4, 8)).tolist()
    assert growth == pytest.approx([0.5 / 0.9375, 0.75 / 0.9375, 0.875 / 0.9375, 1.0])
    assert margin_growth((1,)).tolist() == [1.0]


def test_divergence_by_hand() -> None:
    scores, wanted = torch.tensor([[[1.0], [2.0], [9.0]]]), torch.tensor([[[0.0], [3.0], [7.0]]])
    known = torch.tensor([[True, True, False]])
    p = torch.tensor([0.0, 3.0]).softmax(0)
    q = torch.tensor([1.0, 2.0]).softmax(0)
    assert float(divergence(scores, wanted, known)) == pytest.approx(float((p * (p / q).log()).sum()))
    assert float(divergence(wanted, wanted, known)) == pytest.approx(0.0, abs=1e-6)


def test_margin_error_by_hand() -> None:
    scores, wanted = torch.tensor([[[5.0], [2.0], [1.0]]]), torch.tensor([[[4.0], [3.0], [8.0]]])
    assert float(margin_error(scores, wanted, torch.tensor([[True] * 3]))) == pytest.approx((2.0**2 + 8.0**2) / 2)
    assert float(margin_error(scores, wanted, torch.tensor([[True, True, False]]))) == pytest.approx(4.0)


@pytest.mark.parametrize("distance", [divergence, margin_error])
def test_nothing_known_is_no_loss_and_no_gradient(distance: object) -> None:
    scores = torch.randn(1, 3, 2, requires_grad=True)
    loss = distance(scores, torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)).sum()  # type: ignore[operator]
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_repeated_candidates() -> None:
    assert repeated(torch.tensor([[3, 1, 3, 1, 2]])).tolist() == [[False, False, True, True, False]]


def test_a_candidate_that_is_drawn_and_mined_counts_once(encoder: Path) -> None:
    """With all four others mined, what the teacher adds to the negatives is there already."""
    model = make_model(encoder)
    plain = RankingObjective(model, IDENTIFIERS, (1,), 4, 2.0).loss(batch(model, 0, 3))
    torch.testing.assert_close(taught(model, hard_negatives=4, weight=0.0).loss(batch(model, 0, 3)), plain)


def test_a_teachers_negatives_by_hand(encoder: Path) -> None:
    model = make_model(encoder)
    torch.nn.init.normal_(model.correction.weight, std=0.5)
    without = RankingObjective(model, IDENTIFIERS, (1,), 0, 2.0).loss(batch(model, 2))
    added = taught(model, hard_negatives=0, weight=0.0).loss(batch(model, 2)) - without
    wholes = 2.0 * model.score([TEXTS[2]], IDENTIFIERS)[0, [2, 3, 4]]  # two others are ranked: 3 and 4
    firsts = model.score([TEXTS[2]], [(i,) for i in range(4)])[0] * 2.0
    by_hand = -(wholes.log_softmax(0)[0] + firsts[[1, 2, 3]].log_softmax(0)[0]) / 2
    torch.testing.assert_close(added, by_hand, atol=1e-4, rtol=1e-4)


def test_the_teachers_scores_by_hand(encoder: Path) -> None:
    model = make_model(encoder)
    table = TeacherTable.build(RANKINGS, RIGHT)
    unit = float(table.own[0]) / 9.0
    wholes = 2.0 * model.score([TEXTS[2]], IDENTIFIERS)[0, [2, 3, 4]]
    firsts = 2.0 * model.score([TEXTS[2]], [(i,) for i in range(4)])[0, [1, 2, 3]]
    losses = {
        distance: taught(model, weight=1.0, distance=distance).loss(batch(model, 2))
        - taught(model, weight=0.0).loss(batch(model, 2))
        for distance in ("kl", "margin_mse")
    }
    wanted = torch.tensor([9.0, 8.0, 1.0]) * unit
    p = wanted.softmax(0)
    kl = sum(float((p * (p.log() - scores.log_softmax(0))).sum()) for scores in (firsts, wholes)) / 2
    assert float(losses["kl"]) == pytest.approx(kl, abs=1e-4)
    margins = torch.tensor([1.0, 8.0]) * unit
    error = sum(
        float(((scores[0] - scores[1:] - share * margins) ** 2).mean())
        for scores, share in ((firsts, 2 / 3), (wholes, 1))
    )
    assert float(losses["margin_mse"]) == pytest.approx(error / 2, abs=1e-4)


def test_a_teacher_that_missed_the_right_one_gives_negatives_alone(encoder: Path) -> None:
    model = make_model(encoder)
    table = TeacherTable.build([{1: 3.0, 2: 1.0}] * 5, right_of(*range(5)))
    assert table.row_of.tolist() == [0, 1, 2, 3, 4]
    believed = [
        float(
            TaughtRankingObjective(model, IDENTIFIERS, (1,), 2, 2.0, Teaching(table, weight=weight)).loss(
                batch(model, 0)
            )
        )
        for weight in (0.0, 5.0)
    ]
    assert believed[0] == pytest.approx(believed[1])


def test_examples_without_a_teacher_are_learnt_as_ever(encoder: Path) -> None:
    model = make_model(encoder)
    table = TeacherTable.build([{1: 3.0, 0: 4.0}, *[{}] * 4], right_of(*range(5)))
    objective = TaughtRankingObjective(model, IDENTIFIERS, (1,), 2, 2.0, Teaching(table))
    plain = RankingObjective(model, IDENTIFIERS, (1,), 2, 2.0)
    torch.testing.assert_close(objective.loss(batch(model, 3)), plain.loss(batch(model, 3)))
    assert not torch.allclose(objective.loss(batch(model, 0)), plain.loss(batch(model, 0)))


def test_a_teacher_needs_the_numbers_of_the_examples(encoder: Path) -> None:
    model = make_model(encoder)
    with pytest.raises(ConfigError, match="needs the numbers of the examples"):
        taught(model).loss(replace(batch(model, 0), rows=None))


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("distance", ["kl", "margin_mse"])
def test_a_model_comes_nearer_to_its_teacher(encoder: Path, tmp_path: Path, distance: str, layers: int) -> None:
    model = make_model(encoder, layers)
    objective = taught(model, distance=distance, weight=3.0)

    def order_right() -> float:
        """How often the second and third of the teacher's lists stand in its order."""
        scores = model.score(TEXTS, IDENTIFIERS)
        model.train()
        return sum(float(scores[i, (i + 1) % 5] > scores[i, (i + 2) % 5]) for i in range(5)) / 5

    config = replace(CONFIG, epochs=25, learning_rate=3e-3, fresh_learning_rate=3e-2)
    assert train(model, objective, EXAMPLES, order_right, config, tmp_path).best == 1.0


def test_the_average_follows_at_a_distance() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    past = MovingAverage(model, 0.9)
    model.weight.data.fill_(2.0)
    for expected in (1.1, 1.19):
        past.follow()
        assert float(past.average.weight) == pytest.approx(expected)
    assert not past.average.weight.requires_grad


def test_self_distillation_starts_at_nothing_and_grows(encoder: Path) -> None:
    model = make_model(encoder)
    objective = TaughtRankingObjective(model, IDENTIFIERS, (1,), 2, 2.0, Teaching(self_weight=1.0))
    plain = RankingObjective(model, IDENTIFIERS, (1,), 2, 2.0)
    torch.testing.assert_close(objective.loss(batch(model, 0, 1)), plain.loss(batch(model, 0, 1)), atol=1e-5, rtol=1e-5)
    torch.nn.init.normal_(model.codes.weight)
    more = float(objective.loss(batch(model, 0, 1)) - plain.loss(batch(model, 0, 1)))
    assert math.isfinite(more)
    assert more > 0.01


def test_the_average_of_self_distillation_follows_at_every_loss(encoder: Path) -> None:
    model = make_model(encoder)
    objective = TaughtRankingObjective(model, IDENTIFIERS, (1,), 2, 2.0, Teaching(self_weight=1.0, self_decay=0.75))
    assert objective.past is not None
    model.codes.weight.data.fill_(4.0)
    expected = objective.past.average.codes.weight.clone()
    for _ in range(2):
        objective.loss(batch(model, 0))
        expected = 0.75 * expected + 0.25 * 4.0
        torch.testing.assert_close(objective.past.average.codes.weight, expected)


def test_self_distillation_without_candidates(encoder: Path) -> None:
    for layers, hard_negatives in ((0, 3), (1, 0)):
        with pytest.raises(ConfigError, match="self_distillation compares candidates, and there are none"):
            TaughtRankingObjective(
                make_model(encoder, layers), IDENTIFIERS, (1,), hard_negatives, 2.0, Teaching(self_weight=1.0)
            )


@pytest.mark.parametrize("self_weight", [0.0, 1.0])
def test_a_cut_training_with_teachers_resumes_bit_for_bit(encoder: Path, tmp_path: Path, self_weight: float) -> None:
    """The drawn negatives come from the step's random state, the moving average from the checkpoint."""

    def figures(interrupt_at: int = 0, calls: list[int] | None = None) -> float:
        assert calls is not None
        calls.append(1)
        if len(calls) == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return float(len(calls))

    def run(folder: str, interrupt_at: int, calls: list[int], resume: bool = False) -> CodeDecoder:
        model = make_model(encoder)
        objective = taught(model, negatives=1, self_weight=self_weight, self_decay=0.5)
        train(model, objective, EXAMPLES, lambda: figures(interrupt_at, calls), CONFIG, tmp_path / folder, resume)
        return model

    whole = run("whole", 0, [])
    calls: list[int] = []
    with pytest.raises(TrainingInterruptedError):
        run("cut", 2, calls)
    again = run("cut", 0, calls, resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
