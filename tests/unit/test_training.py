"""The training loop: learns, never ends below its start, resumes bit for bit, and says what is wrong in one line."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError, ConfigError, GenirError
from genir.models.code_decoder import IGNORED, CodeDecoder, CodeDecoderConfig, pad_identifiers
from genir.objectives import CrossEntropyObjective, RankingObjective
from genir.training import (
    BEST,
    CHECKPOINT,
    Example,
    TrainingConfig,
    TrainingInterruptedError,
    discard_checkpoint,
    learning_rate_factor,
    train,
)
from tests.tiny_text_models import save_tiny_bert

IDENTIFIERS = [(0, 4), (0, 5), (1, 4), (2, 6), (3, 7)]
TEXTS = ["red one", "blue two", "green river", "oslo norway", "lima peru"]
EXAMPLES = [Example(text, target) for target, text in enumerate(TEXTS)] * 3
CONFIG = TrainingConfig(
    epochs=3, batch_size=4, learning_rate=1e-3, fresh_learning_rate=1e-2, precision="float32", seed=7
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


def make(encoder: Path, layers: int = 1) -> CodeDecoder:
    torch.manual_seed(0)
    return CodeDecoder(CodeDecoderConfig(encoder=str(encoder), layers=layers, heads=2, feedforward=32), 8, 2, None)


def ranking(model: CodeDecoder) -> RankingObjective:
    return RankingObjective(model, IDENTIFIERS, prefixes=(1,), hard_negatives=3)


def share_right(model: CodeDecoder) -> Callable[[], float]:
    return lambda: float((model.score(TEXTS, IDENTIFIERS).argmax(1) == torch.arange(len(TEXTS))).float().mean())


@pytest.mark.parametrize("layers", [0, 1])
def test_ranking_learns_what_it_is_shown(encoder: Path, tmp_path: Path, layers: int) -> None:
    model = make(encoder, layers)
    config = TrainingConfig(epochs=15, batch_size=5, learning_rate=3e-3, fresh_learning_rate=3e-2, precision="float32")
    progress = train(model, ranking(model), EXAMPLES, share_right(model), config, tmp_path)
    assert progress.best == 1.0
    assert share_right(model)() == 1.0  # the best weights are in the model
    discard_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())


def test_training_never_ends_below_its_start(encoder: Path, tmp_path: Path) -> None:
    model = make(encoder)
    before = model.score(TEXTS, IDENTIFIERS)
    falling = iter([0.9, 0.5, 0.4, 0.3])
    progress = train(model, ranking(model), EXAMPLES, lambda: next(falling), CONFIG, tmp_path)
    assert (progress.best, progress.best_step) == (0.9, 0)
    torch.testing.assert_close(model.score(TEXTS, IDENTIFIERS), before)


def test_patience_stops_early(encoder: Path, tmp_path: Path) -> None:
    model = make(encoder)
    config = TrainingConfig(epochs=50, batch_size=4, patience=2, precision="float32")
    progress = train(model, ranking(model), EXAMPLES, lambda: 0.5, config, tmp_path)
    assert len(progress.history) == 3


def interrupt_at(evaluations: int, value: float = 0.0) -> Callable[[], float]:
    """An evaluation that presses Ctrl-C at its n-th call and still returns its figure."""
    calls = iter(range(1, 100))

    def figure() -> float:
        if next(calls) == evaluations:
            os.kill(os.getpid(), signal.SIGINT)
        return value

    return figure


def test_a_cut_training_resumes_bit_for_bit(encoder: Path, tmp_path: Path) -> None:
    rising = iter(range(100))
    whole = make(encoder)
    train(whole, ranking(whole), EXAMPLES, lambda: float(next(rising)), CONFIG, tmp_path / "whole")

    cut = make(encoder)
    with pytest.raises(TrainingInterruptedError, match="interrupted at step 4; go on with --resume"):
        train(cut, ranking(cut), EXAMPLES, interrupt_at(2), CONFIG, tmp_path / "cut")
    assert (tmp_path / "cut" / CHECKPOINT).is_file()
    again = make(encoder)
    torch.nn.init.normal_(again.codes.weight)  # whatever it starts from is replaced
    rising = iter(range(1, 100))
    train(again, ranking(again), EXAMPLES, lambda: float(next(rising)), CONFIG, tmp_path / "cut", resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_checkpoint_of_other_examples_is_refused(encoder: Path, tmp_path: Path) -> None:
    model = make(encoder)
    with pytest.raises(TrainingInterruptedError):
        train(model, ranking(model), EXAMPLES, interrupt_at(1), CONFIG, tmp_path)
    with pytest.raises(ArtefactError, match="made with other examples or settings"):
        train(model, ranking(model), EXAMPLES[:-1], lambda: 0.0, CONFIG, tmp_path, resume=True)


def test_a_checkpoint_of_another_model_is_refused(encoder: Path, tmp_path: Path) -> None:
    model = make(encoder)
    with pytest.raises(TrainingInterruptedError):
        train(model, ranking(model), EXAMPLES, interrupt_at(1), CONFIG, tmp_path, made_of="one layer")
    other = make(encoder, layers=0)
    with pytest.raises(ArtefactError, match="made with other examples or settings"):
        train(other, ranking(other), EXAMPLES, lambda: 0.0, CONFIG, tmp_path, resume=True, made_of="none")
    with pytest.raises(ArtefactError, match="holds the weights of another model"):
        train(other, ranking(other), EXAMPLES, lambda: 0.0, CONFIG, tmp_path, resume=True, made_of="one layer")


def test_a_run_that_had_ended_early_is_not_trained_further(encoder: Path, tmp_path: Path) -> None:
    model = make(encoder)
    config = TrainingConfig(epochs=50, batch_size=4, patience=2, precision="float32")
    ended = train(model, ranking(model), EXAMPLES, lambda: 0.5, config, tmp_path)
    again = train(model, ranking(model), EXAMPLES, lambda: 0.5, config, tmp_path, resume=True)
    assert again.step == ended.step
    assert again.history == ended.history


def test_a_broken_checkpoint_is_refused(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"\x10\0\0\0")
    model = make(encoder)
    with pytest.raises(ArtefactError, match="broken checkpoint"):
        train(model, ranking(model), EXAMPLES, lambda: 0.0, CONFIG, tmp_path, resume=True)


def test_a_full_disk_leaves_nothing_half_written(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path, metadata: object = None) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("genir.training.save_file", full)
    model = make(encoder)
    with pytest.raises(OSError, match="No space left"):
        train(model, ranking(model), EXAMPLES, lambda: 0.0, CONFIG, tmp_path)
    assert not (tmp_path / BEST).exists()
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_is_an_error(encoder: Path, tmp_path: Path) -> None:
    model = make(encoder)
    model.codes.weight.data.fill_(float("nan"))
    with pytest.raises(GenirError, match="the loss is nan at step 0"):
        train(model, ranking(model), EXAMPLES, lambda: 0.0, CONFIG, tmp_path)


def test_nothing_to_train_on(encoder: Path, tmp_path: Path) -> None:
    model = make(encoder)
    with pytest.raises(ConfigError, match="nothing to train on"):
        train(model, ranking(model), [], lambda: 0.0, CONFIG, tmp_path)


def test_learning_rate_rises_then_falls() -> None:
    factors = [learning_rate_factor(step, 10, 0.2) for step in range(10)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_ranking_loss_by_hand(encoder: Path) -> None:
    """Without decoder layers: the mean over prefix lengths of softmax cross-entropy over sums of dot products."""
    model = make(encoder, layers=0)
    objective = RankingObjective(model, IDENTIFIERS, prefixes=(1,), scale=2.0)
    input_ids, mask = model.pad(model.tokenize(TEXTS[:1]))
    loss = objective.loss(input_ids, mask, torch.tensor([2]), torch.ones(1))
    logits = (model.encode(input_ids, mask).pooled @ model.codes.weight.T)[0]
    firsts = 2.0 * logits[torch.tensor([0, 1, 2, 3])]
    wholes = 2.0 * torch.stack([logits[a] + logits[b] for a, b in IDENTIFIERS])
    by_hand = -(firsts.log_softmax(0)[1] + wholes.log_softmax(0)[2]) / 2
    torch.testing.assert_close(loss, by_hand)


def test_hard_negatives_by_hand(encoder: Path) -> None:
    """With every other identifier as a negative, the second part is a softmax over what `score` says of all of them."""
    model = make(encoder)
    torch.nn.init.normal_(model.correction.weight, std=0.5)
    input_ids, mask = model.pad(model.tokenize(TEXTS[:1]))
    target, weight = torch.tensor([2]), torch.ones(1)
    first = RankingObjective(model, IDENTIFIERS, prefixes=(), hard_negatives=0, scale=2.0)
    both = RankingObjective(model, IDENTIFIERS, prefixes=(), hard_negatives=4, scale=2.0)
    second = both.loss(input_ids, mask, target, weight) - first.loss(input_ids, mask, target, weight)
    by_hand = -(2.0 * model.score(TEXTS[:1], IDENTIFIERS)[0]).log_softmax(0)[2]
    torch.testing.assert_close(second, by_hand, atol=1e-4, rtol=1e-4)


def test_an_identifier_under_the_same_prefix_is_no_negative_of_it(encoder: Path) -> None:
    """(0, 4) and (0, 5) share their first token: its ranking sets it against 1, 2 and 3, once each."""
    model = make(encoder)
    input_ids, mask = model.pad(model.tokenize(TEXTS[:1]))
    target, weight = torch.tensor([0]), torch.ones(1)
    losses = {
        hard: RankingObjective(model, IDENTIFIERS, (1,), hard, 2.0).loss(input_ids, mask, target, weight)
        for hard in (0, 4)
    }
    logits = (model.encode(input_ids, mask).pooled @ model.codes.weight.T)[0]  # the untrained correction is zero
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
    loss = objective.loss(ids, ids, torch.tensor([0, 1]), torch.ones(2))
    assert float(loss) == pytest.approx(float(torch.log(torch.tensor(4.0))))


def test_identifiers_are_padded_behind_their_end() -> None:
    assert pad_identifiers([(1,), (1, 2)], 9).tolist() == [[1, 9, IGNORED], [1, 2, 9]]


def test_a_code_decoder_learns_by_cross_entropy_too(encoder: Path, tmp_path: Path) -> None:
    model = make(encoder)
    objective = CrossEntropyObjective(model, IDENTIFIERS)
    config = TrainingConfig(epochs=15, batch_size=5, learning_rate=3e-3, fresh_learning_rate=3e-2, precision="float32")
    losses = train(model, objective, EXAMPLES, share_right(model), config, tmp_path).history
    assert losses[-1]["loss"] < 0.5 * losses[1]["loss"]
