"""The training loop: learns, never ends below its start, and says what is wrong in one line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genir.errors import ConfigError, GenirError
from genir.models.code_decoder import CodeDecoder
from genir.objectives import CrossEntropyObjective
from genir.training import (
    TrainingConfig,
    _optimizer,
    discard_checkpoint,
    learning_rate_factor,
    train,
)
from tests.tiny_text_models import save_tiny_bert
from tests.tiny_training import CONFIG, EXAMPLES, IDENTIFIERS, TEXTS, make_model, ranking


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


def share_right(model: CodeDecoder) -> Callable[[], float]:
    return lambda: float((model.score(TEXTS, IDENTIFIERS).argmax(1) == torch.arange(len(TEXTS))).float().mean())


@pytest.mark.parametrize("layers", [0, 1])
def test_ranking_learns_what_it_is_shown(encoder: Path, tmp_path: Path, layers: int) -> None:
    model = make_model(encoder, layers)
    config = TrainingConfig(epochs=15, batch_size=5, learning_rate=3e-3, fresh_learning_rate=3e-2, precision="float32")
    progress = train(model, ranking(model), EXAMPLES, share_right(model), config, tmp_path)
    assert progress.best == 1.0
    assert share_right(model)() == 1.0  # the best weights are in the model
    discard_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())


def test_training_never_ends_below_its_start(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    before = model.score(TEXTS, IDENTIFIERS)
    falling = iter([0.9, 0.5, 0.4, 0.3])
    progress = train(model, ranking(model), EXAMPLES, lambda: next(falling), CONFIG, tmp_path)
    assert (progress.best, progress.best_step) == (0.9, 0)
    torch.testing.assert_close(model.score(TEXTS, IDENTIFIERS), before)


def test_patience_stops_early(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    config = TrainingConfig(epochs=50, batch_size=4, patience=2, precision="float32")
    progress = train(model, ranking(model), EXAMPLES, lambda: 0.5, config, tmp_path)
    assert len(progress.history) == 3


def test_a_model_without_layers_to_freeze(encoder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, frozen_layers=0)
    with pytest.raises(ConfigError, match="frozen_layers = 0: for code_decoder only"):
        train(
            torch.nn.Linear(1, 1),
            CrossEntropyObjective(make_model(encoder), IDENTIFIERS),
            EXAMPLES,
            float,
            config,
            tmp_path,
        )


def test_a_loss_that_is_not_finite_is_an_error(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    model.codes.weight.data.fill_(float("nan"))
    with pytest.raises(GenirError, match="the loss is nan at step 0"):
        train(model, ranking(model), EXAMPLES, lambda: 0.0, CONFIG, tmp_path)


def test_nothing_to_train_on(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    with pytest.raises(ConfigError, match="nothing to train on"):
        train(model, ranking(model), [], lambda: 0.0, CONFIG, tmp_path)


def test_learning_rate_rises_then_falls() -> None:
    factors = [learning_rate_factor(step, 10, 0.2) for step in range(10)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_vectors_and_embeddings_do_not_decay(encoder: Path) -> None:
    model = make_model(encoder)
    still = {
        id(one)
        for group in _optimizer(model, CONFIG).param_groups
        if not group["weight_decay"]
        for one in group["params"]
    }
    names = {name for name, parameter in model.named_parameters() if id(parameter) in still}
    assert {"codes.weight", "positions.weight", "encoder.embeddings.word_embeddings.weight", "norm.weight"} < names
    assert not {name for name in names if "query" in name and name.endswith("weight")}


def test_where_nothing_is_found_yet_the_latest_weights_stay_and_patience_runs_on(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = train(model, ranking(model), EXAMPLES, lambda: 0.0, replace(CONFIG, patience=2), tmp_path)
    assert found.since_best == 2
    assert found.best == 0
    assert found.best_step == found.step > 0
    assert any(not torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())


def test_a_figure_that_training_does_not_raise_keeps_the_start(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert train(model, ranking(model), EXAMPLES, lambda: 0.5, CONFIG, tmp_path).best_step == 0
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())


def test_a_code_decoder_learns_by_cross_entropy_too(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    objective = CrossEntropyObjective(model, IDENTIFIERS)
    config = TrainingConfig(epochs=15, batch_size=5, learning_rate=3e-3, fresh_learning_rate=3e-2, precision="float32")
    losses = train(model, objective, EXAMPLES, share_right(model), config, tmp_path).history
    assert losses[-1]["loss"] < 0.5 * losses[1]["loss"]
