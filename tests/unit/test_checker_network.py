"""The span scorer: places in tokens, the loss by hand, passages longer than it reads, training that resumes, and keeping it."""

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError, ConfigError
from genir.objectives import TrainingBatch
from genir.training import TrainingInterruptedError, train
from rag.checkers.network import Asked, SpanScorer, token_range
from rag.checkers.training import CheckerTraining, SpanLesson, SpanObjective, examples_of, lesson_loss
from tests.tiny_checker import save_pair_encoder
from tests.tiny_span_reader import save_word_encoder, tiny_reader
from tests.tiny_text_models import save_tiny_bert

PASSAGE = "Ada built it, Otto ruled it."
LESSONS = [
    SpanLesson("Who built it?", PASSAGE, ((0, 3), (14, 18)), (True, False)),
    SpanLesson("Who ruled\nit?", PASSAGE, ((0, 3), (14, 18)), (False, True)),
    SpanLesson("Who left?", PASSAGE, ((0, 3), (14, 18)), (False, False)),
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pair_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def scorer(encoder: Path) -> SpanScorer:
    torch.manual_seed(0)
    return SpanScorer.fresh(str(encoder), question_tokens=20, passage_tokens=40)


def test_places_in_tokens(scorer: SpanScorer) -> None:
    reading = scorer.read("Who?", PASSAGE)
    assert [reading.ids[i] for i in (0, 5, -1)] == [scorer.start, scorer.seam, scorer.seam]
    first, last = reading.tokens((14, 18))
    assert (first, last) == (6 + 14, 6 + 17)  # a byte is a token here
    assert token_range([(0, 3), (4, 9)], (5, 6)) == (1, 1)
    assert token_range([(0, 3), (4, 9)], (20, 25)) == (1, 1)  # behind all that was read


def test_batches_and_repetitions_change_nothing(scorer: SpanScorer) -> None:
    asked = [
        Asked("Who built it?", PASSAGE, ((0, 3), (14, 18))),
        Asked("Who?", "Otto.", ((0, 4),)),
        Asked("Who built it?", PASSAGE, ((14, 18),)),
        Asked("Who?", PASSAGE, ()),
    ]
    together = scorer.score(asked, precision="float32")
    alone = [scorer.score([one], batch_size=1, precision="float32")[0] for one in asked]
    assert [len(found) for found in together] == [2, 1, 1, 0]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert together[2][0] == pytest.approx(together[0][1], abs=1e-5)
    assert together[0][0] != pytest.approx(together[0][1], abs=1e-3)
    assert scorer.score([]) == []


def test_a_long_passage_is_read_around_the_place(scorer: SpanScorer) -> None:
    passage = "x" * 100 + " Ada " + "y" * 100
    reading = scorer.read("Who?", passage, (101, 104))
    assert len(reading.offsets) == 40
    first, last = reading.tokens((101, 104))
    assert bytes(scorer.tokenizer.decode(reading.ids[first : last + 1]), "utf-8").strip() == b"Ada"
    assert math.isfinite(scorer.score([Asked("Who?", passage, ((101, 104), (0, 5)))])[0][0])


def test_the_loss_by_hand() -> None:
    logits = torch.tensor([2.0, 1.0, -1.0])
    softplus = [math.log1p(math.exp(x)) for x in (-2.0, 1.0, -1.0)]
    listwise = math.log(sum(math.exp(x) for x in (2.0, 1.0, -1.0))) - 2.0
    expected = listwise + softplus[0] + (softplus[1] + softplus[2]) / 2
    assert float(lesson_loss(logits, torch.tensor([True, False, False]))) == pytest.approx(expected)
    wrong = (math.log1p(math.exp(2.0)) + softplus[1] + softplus[2]) / 3
    assert float(lesson_loss(logits, torch.zeros(3, dtype=torch.bool))) == pytest.approx(wrong)


def test_spans_behind_the_cut_are_none(encoder: Path) -> None:
    short = SpanScorer.fresh(str(encoder), question_tokens=20, passage_tokens=10)
    objective = SpanObjective(short, LESSONS)
    assert [len(spans) for spans in objective.spans] == [1, 1, 1]
    nothing = SpanObjective(short, [SpanLesson("Who?", PASSAGE, ((14, 18),), (True,))])
    ids, mask = short.pad(short.tokenize(["Who?\n" + PASSAGE]))
    loss = nothing.loss(TrainingBatch(ids, mask, torch.tensor([0]), torch.ones(1)))
    assert float(loss.detach()) == 0.0
    loss.backward()  # type: ignore[no-untyped-call]  # a batch without any span does not stop training


def learn(
    scorer: SpanScorer, folder: Path, evaluate: Callable[[], float], resume: bool = False
) -> dict[str, torch.Tensor]:
    config = CheckerTraining(epochs=30, batch_size=2, learning_rate=3e-3, precision="float32", evaluate_every=10)
    train(scorer, SpanObjective(scorer, LESSONS), examples_of(LESSONS), evaluate, config, folder, resume)
    return {name: value.clone() for name, value in scorer.state_dict().items()}


def fresh(encoder: Path) -> SpanScorer:
    torch.manual_seed(1)
    return SpanScorer.fresh(str(encoder), question_tokens=20, passage_tokens=40)


def test_it_learns_and_resumes_with_the_same_weights(encoder: Path, tmp_path: Path) -> None:
    rising = iter(range(100))
    scorer = fresh(encoder)
    embeddings = scorer.encoder.get_input_embeddings().weight.clone()
    whole = learn(scorer, tmp_path / "whole", lambda: next(rising))
    found = scorer.score([Asked(one.question, one.passage, one.places) for one in LESSONS], precision="float32")
    assert found[0][0] > found[0][1]
    assert torch.equal(scorer.encoder.get_input_embeddings().weight, embeddings)
    calls = iter(range(100))

    def press() -> float:
        call = next(calls)
        if call == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return float(call)

    with pytest.raises(TrainingInterruptedError):
        learn(fresh(encoder), tmp_path / "cut", press)
    later = iter(range(50, 100))
    resumed = learn(fresh(encoder), tmp_path / "cut", lambda: next(later), resume=True)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_saved_scorer_scores_the_same(scorer: SpanScorer, tmp_path: Path) -> None:
    asked = [Asked("Who built it?", PASSAGE, ((0, 3), (14, 18)))]
    whole = scorer.score(asked, precision="float32")[0]
    scorer.save(tmp_path / "exact", "float32")
    assert SpanScorer.load(tmp_path / "exact").score(asked, precision="float32") == [whole]
    scorer.save(tmp_path / "spans")
    assert SpanScorer.load(tmp_path / "spans").score(asked, precision="float32")[0] == pytest.approx(whole, abs=0.02)
    (tmp_path / "exact" / "tokenizer.json").unlink()
    with pytest.raises(
        ArtefactError, match=r"no readable span scorer \(tokenizer\.json is missing\); train the checker"
    ):
        SpanScorer.load(tmp_path / "exact")
    (tmp_path / "spans" / "span_scorer.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtefactError, match=r"no readable span scorer \(.*\); train the checker again"):
        SpanScorer.load(tmp_path / "spans")
    with pytest.raises(ArtefactError, match="no readable span scorer"):
        SpanScorer.load(tmp_path / "nowhere")


def test_encoders_that_do_not_fit(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reads 128 tokens, .*expected both tokens, and 303 positions"):
        SpanScorer.fresh(str(encoder), question_tokens=100, passage_tokens=200)
    with pytest.raises(ConfigError, match=r"its \[CLS\] is None, its \[SEP\] None: expected both tokens"):
        SpanScorer.fresh(str(save_tiny_bert(tmp_path, 16)), question_tokens=20, passage_tokens=40)


def test_a_trained_reader_is_a_start(tmp_path: Path) -> None:
    reader = tiny_reader(save_word_encoder(tmp_path / "encoder"))
    reader.save(tmp_path / "reader", "float32")
    scorer = SpanScorer.of_reader(tmp_path / "reader", question_tokens=16, passage_tokens=32)
    assert torch.equal(scorer.encoder.get_input_embeddings().weight, reader.model.encoder.get_input_embeddings().weight)
    assert len(scorer.score([Asked("who built it ?", "oslo lies north", ((0, 4),))])[0]) == 1
    with pytest.raises(ArtefactError):
        SpanScorer.of_reader(tmp_path / "nowhere", question_tokens=16, passage_tokens=32)
