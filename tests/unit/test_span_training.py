"""What the span reader learns from, its loss by hand, and a training that was cut and resumed."""

import os
import random
import signal
from dataclasses import replace
from math import exp, log
from pathlib import Path

import pytest
import torch

from genir.errors import ConfigError, DataError
from genir.objectives import TrainingBatch
from genir.records import Document, Query
from genir.training import TrainingInterruptedError, train
from rag.span.data import WindowMaker
from rag.span.model import boundaries, span_scores
from rag.span.negatives import WrongPassages
from rag.span.reader import SpanReader
from rag.span.training import Learner, SpanConfig, SpanObjective, SpanTraining, TrainingSet, make_training_set
from tests.tiny_span_reader import save_word_encoder, tiny_reader

OSLO = Document("a1", "Oslo is the capital of Norway.", "Norway § 1")
COAST = Document("a2", "The coast of Norway lies in the west.", "Norway § 2")
BRIDGE = Document("a3", "The old bridge by the river was built in 1850.", "Norway § 3")
NILE = Document("b1", "The Nile lies in Egypt.", "Egypt")
CORPUS = (OSLO, COAST, BRIDGE, NILE)
ASKED = [
    (Query("q1", "what is the capital of norway", ("Oslo",)), OSLO),
    (Query("q2", "where is the coast", ("west", "the west")), COAST),
    (Query("q3", "when was the old bridge built", ("1850",)), BRIDGE),
    (Query("q4", "where is the nile", ("Egypt",)), NILE),
]
QUICK = SpanTraining(epochs=4, batch_size=2, precision="float32", evaluate_every=3, checkpoint_every=1)
CONFIG = SpanConfig(max_length=64, stride=8, max_question_tokens=16, max_answer_tokens=6, training=QUICK)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_word_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def reader(encoder: Path) -> SpanReader:
    return tiny_reader(encoder)


def training_set(maker: WindowMaker, beside: float, alone: float) -> TrainingSet:
    return make_training_set(maker, ASKED, WrongPassages(CORPUS), replace(CONFIG, beside=beside, alone=alone))


def test_wrong_passages_are_of_the_article_and_hold_no_answer() -> None:
    wrong = WrongPassages(CORPUS, hardest=2)
    drawn = {wrong.draw(*ASKED[1], random.Random(seed))[0].doc_id for seed in range(20)}
    assert drawn == {"a1", "a3"}
    nearest = WrongPassages(CORPUS, hardest=1)
    holding = Query("q", "what lies in norway", ("the coast",))
    assert [one.doc_id for one in nearest.draw(holding, OSLO, random.Random(0))] == ["a3"]
    elsewhere = {wrong.draw(*ASKED[3], random.Random(seed))[0].doc_id for seed in range(20)}
    assert elsewhere <= {"a1", "a2", "a3"}
    assert len(wrong.draw(*ASKED[1], random.Random(0), 5)) == 2
    assert WrongPassages([NILE]).draw(*ASKED[3], random.Random(0)) == []


def test_groups_with_passages_beside_and_alone(reader: SpanReader) -> None:
    plain = training_set(reader.maker, 0.0, 0.0)
    assert [len(group.places) for group in plain.groups] == [1, 2, 1, 1]
    assert all(not group.beside for group in plain.groups)
    full = training_set(reader.maker, 1.0, 1.0)
    assert sum(bool(group.beside) for group in full.groups) == 4
    assert sum(not group.places for group in full.groups) == 4
    assert full.groups == training_set(reader.maker, 1.0, 1.0).groups
    kinds = [example.kind for example in full.examples()]
    assert (kinds.count("passage"), kinds.count("unanswerable")) == (4, 4)
    window = full.windows[full.groups[0].window]
    [(begin, end)] = full.groups[0].places
    assert OSLO.text[slice(*window.characters(begin, end))] == "Oslo"


def test_questions_that_cannot_be_learnt_from_are_counted(reader: SpanReader) -> None:
    lost = (Query("q5", "who", ("Rome",)), OSLO)
    long = (Query("q6", "what", ("Oslo is the capital of Norway.",)), OSLO)
    wrong = WrongPassages(CORPUS)
    made = make_training_set(reader.maker, [*ASKED, lost, long, lost], wrong, CONFIG)
    assert made.left_out == {
        "without their answer in the passage": 2,
        "with an answer of more than 6 tokens, or beyond a window": 1,
    }
    with pytest.raises(
        DataError, match="no training question whose answer its passage holds \\(1 without their answer"
    ):
        make_training_set(reader.maker, [lost], wrong, CONFIG)


def test_the_loss_by_hand(reader: SpanReader) -> None:
    data = training_set(reader.maker, 1.0, 1.0)
    model = reader.model.eval()
    objective = SpanObjective(model, data, CONFIG.max_answer_tokens)

    def odds(number: int) -> dict[tuple[int, int], float]:
        window = data.windows[number]
        ids, mask = model.pad([window.ids])
        begins, ends = model(ids, mask)
        scores = span_scores(begins, ends, *boundaries([window], ids.shape[1], ids.device), 6)[0]
        return {(i, i + n): exp(scores[i, n].item()) for i in range(scores.shape[0]) for n in range(6)}

    losses = []
    for group in data.groups:
        own, others = odds(group.window), [odds(number) for number in group.beside]
        total = 1 + sum(own.values()) + sum(sum(other.values()) for other in others)
        losses.append(-log((sum(own[place] for place in group.places) if group.places else 1) / total))
    targets = torch.arange(len(data.groups))
    weights = torch.arange(1.0, 1 + len(targets))
    ids, mask = model.pad([data.windows[group.window].ids for group in data.groups])
    found = objective.loss(TrainingBatch(ids, mask, targets, weights))
    expected = sum(w * loss for w, loss in zip(weights.tolist(), losses, strict=True)) / weights.sum().item()
    assert found.item() == pytest.approx(expected, rel=1e-5)
    alone = objective.loss(TrainingBatch(ids[:1], mask[:1], targets[:1], weights[:1]))
    assert alone.item() == pytest.approx(losses[0], rel=1e-5)


def learn(
    encoder: Path, folder: Path, interrupt_at: int | None = None, resume: bool = False
) -> tuple[Learner, list[float]]:
    reader = tiny_reader(encoder)
    data = training_set(reader.maker, 0.5, 0.5)
    learner = Learner(reader.model, data.windows)
    seen: list[float] = []

    def figure() -> float:
        seen.append(float(len(seen)))
        if interrupt_at is not None and len(seen) == interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return seen[-1]

    objective = SpanObjective(reader.model, data, CONFIG.max_answer_tokens)
    train(learner, objective, data.examples(), figure, QUICK, folder, resume, "tiny")
    return learner, seen


def test_a_cut_training_ends_with_the_same_weights(encoder: Path, tmp_path: Path) -> None:
    whole, _ = learn(encoder, tmp_path / "whole")
    with pytest.raises(TrainingInterruptedError, match="go on with --resume"):
        learn(encoder, tmp_path / "cut", interrupt_at=2)
    resumed, _ = learn(encoder, tmp_path / "cut", resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_it_learns_four_questions_by_heart(encoder: Path, tmp_path: Path) -> None:
    reader = tiny_reader(encoder)
    data = training_set(reader.maker, 0.0, 1.0)
    learner = Learner(reader.model, data.windows)
    objective = SpanObjective(reader.model, data, CONFIG.max_answer_tokens)
    quick = replace(QUICK, epochs=60, batch_size=8, learning_rate=1e-2, fresh_learning_rate=1e-2, evaluate_every=30)
    questions, passages = [query.text for query, _ in ASKED], [[passage] for _, passage in ASKED]

    def right() -> float:
        readings = reader.read(questions, passages)
        return sum(one.text in query.answers for one, (query, _) in zip(readings, ASKED, strict=True)) / 4

    progress = train(learner, objective, data.examples(), right, quick, tmp_path)
    assert progress.best == 1.0
    [sure] = reader.read([questions[0]], [[OSLO]])
    [unsure] = reader.read([questions[0]], [[COAST, BRIDGE]])
    assert sure.confidence > 0.5 > unsure.confidence


def test_impossible_settings() -> None:
    with pytest.raises(ConfigError, match=r"expected beside and alone in 0\.\.1"):
        SpanConfig(beside=1.5)
