"""Identifiers learned with the model: the loss by hand, rounds that keep the best, resumption, and what is refused."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from docids.learned import codes_of
from docids.residual import ResidualScheme
from docids.table import DocIDTable
from experiments.training.learned_identifiers import (
    ROUNDS,
    Learned,
    LearnedConfig,
    Lesson,
    discard_rounds,
    learn_identifiers,
)
from genir.embedding import TextEncoder
from genir.errors import ArtefactError, ConfigError
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.objectives import RankingObjective, TrainingBatch
from genir.reconstruction import ReconstructionObjective, document_vectors
from genir.records import Document
from genir.training import Example, TrainingConfig, TrainingInterruptedError, train
from tests.tiny_text_models import save_tiny_bert

WORDS = "moon river copper lake oslo lima desert planet engine violin".split()
CORPUS = [Document(f"d{i}", f"the {WORDS[i % 10]} number {i * i} of the {WORDS[i // 3]}") for i in range(24)]
TRAINING = TrainingConfig(
    epochs=2, batch_size=8, learning_rate=1e-3, fresh_learning_rate=1e-2, precision="float32", seed=3
)
SETTINGS = LearnedConfig(rounds=3, shrink=0.0, inertia=0.0, ridge=2.0, prefixes=(1,))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16))


@pytest.fixture(scope="module")
def start(encoder: str) -> DocIDTable:
    return ResidualScheme(levels=3, codes=6, encoder=TextEncoder(encoder, precision="float32")).assign(CORPUS)


def make(encoder: str, start: DocIDTable) -> CodeDecoder:
    torch.manual_seed(0)
    config = CodeDecoderConfig(encoder, layers=1, heads=2, feedforward=16)
    model = CodeDecoder(config, start.vocab_size, 3, None)
    assert start.codebooks is not None
    model.start_from_codebooks(start.codebooks)
    model.precision = "float32"
    return model


def lessons(model: CodeDecoder, figure: Callable[[], float] | None = None) -> Callable[[DocIDTable], Lesson]:
    def lesson(table: DocIDTable) -> Lesson:
        identifiers = table.identifiers()
        targets = [identifiers.index(table.tokens_of(document.doc_id)) for document in CORPUS]
        examples = [Example(document.text[4:20], target) for document, target in zip(CORPUS, targets, strict=True)]

        def share_right() -> float:
            scores = model.score([one.text for one in examples], identifiers)
            return round(float((scores.argmax(1) == torch.tensor(targets)).float().mean()), 4)

        return Lesson(examples, RankingObjective(model, identifiers, (1,), 3), figure or share_right)

    return lesson


def learn(
    model: CodeDecoder,
    start: DocIDTable,
    folder: Path,
    settings: LearnedConfig = SETTINGS,
    figure: Callable[[], float] | None = None,
    resume: bool = False,
    training: TrainingConfig = TRAINING,
) -> Learned:
    return learn_identifiers(model, start, CORPUS, lessons(model, figure), settings, training, folder, resume)


def test_reconstruction_loss_by_hand(encoder: str, start: DocIDTable) -> None:
    """Identifiers (0, 3) and (0, 4) share a prefix: neither is a negative of the other's prefix, both are of the whole."""
    model = make(encoder, start)
    identifiers = [(0, 3), (0, 4), (1, 3)]
    vectors = np.eye(3, 16, dtype=np.float32)
    objective = ReconstructionObjective(
        RankingObjective(model, identifiers), model, identifiers, vectors, (1,), weight=1.0, commitment=0.5, scale=2.0
    )
    E = model.codes.weight.detach()
    first, whole = E[0], E[0] + E[3]
    documents = torch.from_numpy(vectors)
    by_hand = -((2 * documents[[0, 2]] @ first).log_softmax(0)[0] + (2 * documents @ whole).log_softmax(0)[0]) / 2
    by_hand = by_hand + 0.5 * (documents[0] - whole).square().sum()
    torch.testing.assert_close(objective.reconstruction(torch.tensor([0]))[0], by_hand)

    ids, mask = model.pad(model.tokenize(["moon", "lake"]))
    targets, weights = torch.tensor([0, 2]), torch.tensor([1.0, 3.0])
    batch = TrainingBatch(ids, mask, targets, weights)
    added = objective.loss(batch) - objective.base.loss(batch)
    losses = objective.reconstruction(targets)
    torch.testing.assert_close(added, (losses[0] + 3 * losses[1]) / 4)


def test_document_vectors_are_the_encoders_and_leave_the_mode(encoder: str, start: DocIDTable) -> None:
    model = make(encoder, start).train()
    texts = [document.text for document in CORPUS]
    expected = TextEncoder(encoder, precision="float32").encode(texts)
    np.testing.assert_allclose(document_vectors(model, texts, batch_size=5), expected, atol=1e-5)
    assert model.training


def test_rounds_learn_and_keep_codes_balanced_and_distinct(encoder: str, start: DocIDTable, tmp_path: Path) -> None:
    model = make(encoder, start)
    learned = learn(model, start, tmp_path, training=replace(TRAINING, epochs=8, evaluate_every=12))
    assert learned.progress.best > learned.progress.history[0]["dev"]
    assert [one["round"] for one in learned.rounds] == [0, 1, 2]
    assert learned.rounds[0]["changed"] == 0 < learned.rounds[1]["changed"]
    assert learned.rounds[1]["changed"] >= learned.rounds[2]["changed"]  # the first level is fixed by then
    assert all(one["collision_rate"] == 0 for one in learned.rounds)
    assert all(one["largest_code"] <= SETTINGS.slack * 24 / 6 for one in learned.rounds[1:])
    assert [entry["step"] for entry in learned.progress.history] == [0, 12, 24, 24, 36, 48, 48, 60, 72]
    # the model is the best round's, and its token embeddings are the table's codebooks
    assert lessons(model)(learned.table).figure() == learned.progress.best
    assert learned.table.codebooks is not None
    np.testing.assert_array_equal(model.codes.weight.detach().numpy(), learned.table.codebooks.reshape(-1, 16))
    discard_rounds(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_result_is_never_below_the_start(encoder: str, start: DocIDTable, tmp_path: Path) -> None:
    model = make(encoder, start)
    before = model.score(["moon"], start.identifiers())
    falling = iter(np.linspace(0.9, 0.1, 20).tolist())
    learned = learn(model, start, tmp_path, figure=lambda: next(falling))
    assert (learned.progress.best, learned.progress.best_step) == (0.9, 0)
    assert dict(learned.table.tokens) == dict(start.tokens)
    assert learned.table.scheme == "residual"  # the identifiers it began with
    torch.testing.assert_close(model.score(["moon"], start.identifiers()), before)


def interrupt_at(evaluation: int, figure: Callable[[], float]) -> Callable[[], float]:
    calls = iter(range(1, 100))

    def measured() -> float:
        if next(calls) == evaluation:
            os.kill(os.getpid(), signal.SIGINT)
        return figure()

    return measured


def test_a_round_goes_on_from_the_last_weights_not_from_the_best(
    encoder: str, start: DocIDTable, tmp_path: Path
) -> None:
    model = make(encoder, start)
    before = model.codes.weight.detach().clone()
    seen: list[torch.Tensor] = []

    def falling() -> float:
        seen.append(model.codes.weight.detach().clone())
        return 1.0 - 0.1 * len(seen)

    learned = learn(model, start, tmp_path, replace(SETTINGS, rounds=2, ridge=1e9), figure=falling)
    assert learned.progress.best_step == 0
    assert torch.equal(seen[0], before)
    assert torch.equal(model.codes.weight, before)  # what is returned is the best
    used = sorted({token for tokens in start.tokens.values() for token in tokens})  # others are revived
    torch.testing.assert_close(
        seen[3][used], seen[2][used], atol=1e-4, rtol=0
    )  # the second round's start, the first's end
    assert not torch.allclose(seen[3][used], before[used], atol=1e-3)


@pytest.fixture(scope="module")
def whole(encoder: str, start: DocIDTable, tmp_path_factory: pytest.TempPathFactory) -> tuple[CodeDecoder, Learned]:
    """A run that nothing cuts, whose figure always rises."""
    model = make(encoder, start)
    rising = iter(range(100))
    return model, learn(model, start, tmp_path_factory.mktemp("whole"), figure=lambda: float(next(rising)))


@pytest.mark.parametrize("evaluation", [2, 4, 8])  # within round 0; at the start of round 1; within round 2
def test_a_cut_run_resumes_bit_for_bit(
    encoder: str, start: DocIDTable, whole: tuple[CodeDecoder, Learned], tmp_path: Path, evaluation: int
) -> None:
    rising = iter(range(100))
    cut = make(encoder, start)
    figure = interrupt_at(evaluation, lambda: float(next(rising)))
    with pytest.raises(TrainingInterruptedError, match="go on with --resume"):
        learn(cut, start, tmp_path / "cut", figure=figure)
    again = make(encoder, start)
    torch.nn.init.normal_(again.codes.weight)  # whatever it starts from is replaced
    resumed = learn(again, start, tmp_path / "cut", figure=figure, resume=True)
    model, learned = whole
    assert dict(resumed.table.tokens) == dict(learned.table.tokens)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert resumed.progress.step == learned.progress.step


def test_a_finished_run_is_taken_as_it_is(encoder: str, start: DocIDTable, tmp_path: Path) -> None:
    """As after a kill between the last round and the saving of the model."""
    first = learn(make(encoder, start), start, tmp_path)

    def never() -> float:
        raise AssertionError("measured again")

    model = make(encoder, start)
    again = learn(model, start, tmp_path, figure=never, resume=True)
    taken = replace(first.progress, earlier_seconds=first.progress.seconds)  # all of it was before
    assert (again.progress, dict(again.table.tokens)) == (taken, dict(first.table.tokens))
    assert lessons(model)(again.table).figure() == first.progress.best


def test_rounds_of_other_settings_and_unfinished_ones_are_refused(
    encoder: str, start: DocIDTable, tmp_path: Path
) -> None:
    learn(make(encoder, start), start, tmp_path, replace(SETTINGS, rounds=1))
    with pytest.raises(ArtefactError, match=r"unfinished training; go on with --resume, or delete \.rounds"):
        learn(make(encoder, start), start, tmp_path)
    with pytest.raises(ArtefactError, match="made with other examples or settings"):
        learn(make(encoder, start), start, tmp_path, resume=True)
    (tmp_path / ROUNDS / "round-0" / "begun.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"begun.json: cannot be read .*delete .* and train again"):
        learn(make(encoder, start), start, tmp_path, resume=True)


def test_rounds_weigh_reconstruction_and_commitment_as_they_are_told(
    encoder: str, start: DocIDTable, tmp_path: Path
) -> None:
    """Weighing nothing, a round is the training that there was; the more they weigh, the better codes rebuild documents."""
    rebuilt = {}
    for name, weights in {"nothing": (0.0, 1.0), "loss": (50.0, 0.0), "distance": (5.0, 9.0)}.items():
        model, rising = make(encoder, start), iter(range(100))
        settings = replace(SETTINGS, rounds=1, reconstruction=weights[0], commitment=weights[1])
        learn(model, start, tmp_path / name, settings, figure=lambda rising=rising: float(next(rising)))  # type: ignore[misc]
        vectors = torch.from_numpy(document_vectors(make(encoder, start), [one.title_and_text for one in CORPUS]))
        objective = ReconstructionObjective(
            RankingObjective(model, start.identifiers()),
            model,
            [start.tokens_of(one.doc_id) for one in CORPUS],
            vectors.numpy(),
            (1,),
            commitment=0.0,
        )
        sums = model.codes(objective.identifiers).sum(1)
        with torch.no_grad():
            loss = float(objective.reconstruction(torch.arange(len(CORPUS))).mean())
            rebuilt[name] = loss, float((sums - vectors).square().sum(-1).mean())
        if name == "nothing":
            plain, rising = make(encoder, start), iter(range(100))
            taught = lessons(plain, lambda rising=rising: float(next(rising)))(start)  # type: ignore[misc]
            train(plain, taught.objective, taught.examples, taught.figure, TRAINING, tmp_path / "plain")
            assert torch.equal(plain.codes.weight, model.codes.weight)
    assert rebuilt["loss"][0] < rebuilt["nothing"][0]
    assert rebuilt["distance"][1] < min(rebuilt["nothing"][1], rebuilt["loss"][1])


def test_reconstruction_moves_codes_and_nothing_of_the_encoder(encoder: str, start: DocIDTable) -> None:
    """What docs/identifiers.md says."""
    model = make(encoder, start)
    vectors = document_vectors(model, [one.text for one in CORPUS])
    identifiers = [start.tokens_of(one.doc_id) for one in CORPUS]
    objective = ReconstructionObjective(RankingObjective(model, identifiers), model, identifiers, vectors)
    objective.reconstruction(torch.arange(4)).sum().backward()  # type: ignore[no-untyped-call]
    assert {name for name, one in model.named_parameters() if one.grad is not None} == {"codes.weight"}


def test_one_round_trains_and_changes_no_identifier(encoder: str, start: DocIDTable, tmp_path: Path) -> None:
    learned = learn(make(encoder, start), start, tmp_path, replace(SETTINGS, rounds=1))
    assert dict(learned.table.tokens) == dict(start.tokens)
    assert json.loads(json.dumps(learned.rounds))[0]["changed"] == 0


def test_without_rounds_it_is_the_training_that_there_was(encoder: str, start: DocIDTable, tmp_path: Path) -> None:
    learned, plain = make(encoder, start), make(encoder, start)
    made = learn(learned, start, tmp_path / "learned", LearnedConfig())
    taught = lessons(plain)(start)
    train(plain, taught.objective, taught.examples, taught.figure, TRAINING, tmp_path / "plain")
    assert (made.table, made.rounds) == (start, [])
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, learned.state_dict()[name]), name


def test_identifiers_without_codebooks_are_refused(encoder: str, start: DocIDTable, tmp_path: Path) -> None:
    model = make(encoder, start)
    bare = replace(start, codebooks=None)
    with pytest.raises(ArtefactError, match="residual identifiers have no codebooks, so a model cannot learn them"):
        learn(model, bare, tmp_path)
    assert not list(tmp_path.iterdir())


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"rounds": -1}, {"prefixes": (0,)}, {"document_tokens": 1}, {"commitment": -0.1}):
        with pytest.raises(ConfigError, match=r"impossible \[learned\]"):
            LearnedConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected slack >= 1"):
        LearnedConfig(slack=0.0)


def test_prefixes_are_fixed_as_rounds_go_on() -> None:
    def fixed(rounds: int) -> list[int | None]:
        hows = [LearnedConfig(rounds=rounds).reassignment(number, 8, 0) for number in range(rounds)]
        return [how and how.fixed for how in hows]

    assert fixed(5) == [None, 0, 2, 4, 6]
    assert fixed(2) == [None, 0]
    assert fixed(1) == [None]


def test_codes_are_read_back_from_tokens(start: DocIDTable) -> None:
    codes = codes_of(start)
    assert codes.shape == (24, 3)
    assert 0 <= codes.min() <= codes.max() < 6
