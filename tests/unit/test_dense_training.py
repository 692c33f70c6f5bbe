"""Fine-tuning a dense encoder: what is a negative and what is not, the loss by hand, mined negatives, and resumption."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genir.devices import Precision, attention_kernel
from genir.embedding import TextEncoder
from genir.errors import ConfigError, DataError
from genir.objectives import TrainingBatch
from genir.records import Document, Qrels, Query, Run, ScoredDoc
from genir.training import TrainingInterruptedError, train
from retrievers.bi_encoder import BiEncoder, LiveEncoder
from retrievers.dense_training import (
    ContrastiveObjective,
    DenseConfig,
    DenseTraining,
    Group,
    TrainingSet,
    false_negatives,
    make_training_set,
)
from retrievers.hard_negatives import mine
from tests.tiny_text_models import save_tiny_bert

CORPUS = [Document("a", "red"), Document("b", "green"), Document("c", "blue"), Document("twin", "red")]
QUERIES = [Query("p", "rot"), Query("q", "rouge"), Query("r", "vert ou bleu"), Query("s", "nothing")]
QRELS = Qrels({"p": {"a": 1}, "q": {"a": 1, "b": 0}, "r": {"b": 1, "c": 2}, "s": {}})
SMALL = DenseConfig(passage_tokens=24, query_tokens=24, queries_per_passage=2, hard_negatives=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


@pytest.fixture
def model(encoder: Path) -> BiEncoder:
    return BiEncoder(str(encoder), 24, 24)


class Ranking:
    """A retriever that knows one ranking."""

    def __init__(self, *doc_ids: str) -> None:
        self.name, self.doc_ids = "fixed", doc_ids

    def search(self, queries: Sequence[Query], k: int) -> Run:
        ranking = tuple(ScoredDoc(doc_id, -float(rank)) for rank, doc_id in enumerate(self.doc_ids[:k]))
        return Run(self.name, {query.query_id: ranking for query in queries})


def test_mined_negatives_are_never_relevant_and_come_in_turn() -> None:
    mined = mine(QUERIES, QRELS, [Ranking("a", "b", "c", "twin"), Ranking("c", "a", "twin")], 3)
    assert mined["p"] == ("b", "c", "twin")  # b and c lead the two rankings; "twin" is not among the first three of one
    assert mined["r"] == ("a", "twin")
    assert mined["q"][0] == "b"  # a judgement of gain 0 makes a negative
    assert all(not set(mined[query_id]) & set(QRELS.relevant(query_id)) for query_id in mined)


def test_groups_hold_a_passage_with_its_queries(model: BiEncoder) -> None:
    mined = {"p": ("twin", "b"), "q": ("c",), "r": ("a",)}
    data = make_training_set(model, CORPUS, QUERIES, QRELS, mined, SMALL)
    assert data.texts == ["red", "green", "blue"]  # the twin is the passage "red"
    # Under another doc_id a relevant passage stays relevant: it is no negative of "p".
    assert data.groups == [Group(0, (0, 1), (1, 2)), Group(1, (2,), (0,)), Group(2, (2,), (0,))]
    assert data.relevant == [{0}, {0}, {1, 2}, frozenset()]
    assert data.pairs == 4
    assert [(one.text, one.target) for one in data.examples()] == [("red", 0), ("green", 1), ("blue", 2)]


def test_many_queries_of_a_passage_fall_into_groups_of_one_size(model: BiEncoder) -> None:
    queries = [Query(str(i), f"q{i}") for i in range(5)]
    qrels = Qrels({str(i): {"a": 1} for i in range(5)})
    groups = make_training_set(model, CORPUS, queries, qrels, {}, replace(SMALL, queries_per_passage=4)).groups
    assert [group.queries for group in groups] == [(0, 1), (2, 3, 4)]


def test_false_negatives_are_masked() -> None:
    # Columns: passage 0 twice (two groups of it), 1, 2. The first query is trained to find the first column.
    masked = false_negatives([frozenset({0}), frozenset({0}), frozenset({1, 2})], torch.tensor([0, 1, 3]), [0, 0, 1, 2])
    assert masked.tolist() == [
        [False, True, False, False],
        [True, False, False, False],
        [False, False, True, False],
    ]


class Lookup:
    """A model whose texts are their own vectors: token i is row i of a table."""

    def __init__(self, table: list[list[float]]) -> None:
        self.table = torch.nn.functional.normalize(torch.tensor(table), dim=1)

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.table[input_ids[:, 0]]

    def embed_rows(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        return self.table[[row[0] for row in rows]]


def by_hand(hard_negatives: int) -> float:
    """The loss of two groups, their passages [1, 0] and [0, 1]; a hard negative [.6, .8]; queries [1, 0] and [.8, .6]."""
    lookup = Lookup([[1, 0], [0, 1], [0.6, 0.8], [1, 0], [0.8, 0.6]])
    data = TrainingSet(
        passages=[[0], [1], [2]],
        texts=["", "", ""],
        queries=[[3], [4]],
        relevant=[frozenset({0}), frozenset({1, 0})],
        groups=[Group(0, (0,), (2,)), Group(1, (1,), ())],
    )
    objective = ContrastiveObjective(lookup, data, scale=2.0, hard_negatives=hard_negatives)  # type: ignore[arg-type]
    ids = torch.tensor([[0], [1]])
    batch = TrainingBatch(ids, torch.ones_like(ids), torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    return float(objective.loss(batch))


def test_the_loss_by_hand() -> None:
    # Query 0: scores 2, 0 (and 1.2 of the hard negative); query 1: passage 0 is relevant, too, and left out: 1.2 (and 1.92).
    first = np.log(1 + np.exp(-2.0))
    assert by_hand(hard_negatives=0) == pytest.approx((first * 1 + 0 * 3) / 4)
    first = -np.log(np.exp(2) / (np.exp(2) + np.exp(0) + np.exp(1.2)))
    second = -np.log(np.exp(1.2) / (np.exp(1.2) + np.exp(1.92)))
    assert by_hand(hard_negatives=1) == pytest.approx((first * 1 + second * 3) / 4)


def test_vectors_are_those_of_the_text_encoder(model: BiEncoder, encoder: Path) -> None:
    texts = ["red", "a much longer text", "", "blue green"]
    model.eval()
    with torch.no_grad():
        rows = model.embed_rows(model.tokenize(texts)).numpy()
    expected = TextEncoder(str(encoder), max_length=24, precision="float32").encode(texts)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_array_equal(LiveEncoder(model, precision="float32").encode(texts), expected)


def test_queries_take_the_attention_kernel_of_their_own_length(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[str, int]] = []

    def kernel(device: torch.device, precision: Precision, tokens: int) -> AbstractContextManager[object]:
        taken.append((precision, tokens))
        return attention_kernel(device, precision, tokens)

    monkeypatch.setattr("retrievers.bi_encoder.attention_kernel", kernel)
    model = BiEncoder(str(encoder), 128, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.embed(*model.pad([list(range(5, 105))]))
        model.embed_rows([[5, 6]])
    model.embed_rows([[5, 6]])
    assert taken == [("bfloat16", 112), ("bfloat16", 16), ("float32", 16)]


def learn(
    model: BiEncoder, folder: Path, evaluate: Callable[[], float], resume: bool = False, epochs: int = 3
) -> dict[str, torch.Tensor]:
    mined = {"p": ("b", "c"), "q": ("c", "b"), "r": ("a",)}
    data = make_training_set(model, CORPUS, QUERIES, QRELS, mined, replace(SMALL, queries_per_passage=1))
    config = DenseTraining(
        epochs=epochs, batch_size=2, learning_rate=1e-3, precision="float32", patience=0, evaluate_every=1
    )
    train(model, ContrastiveObjective(model, data, 20.0, 1), data.examples(), evaluate, config, folder, resume)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_resumed_training_ends_with_the_same_weights(encoder: Path, tmp_path: Path) -> None:
    rising = iter(range(100))
    whole = learn(BiEncoder(str(encoder), 24, 24), tmp_path / "whole", lambda: next(rising))

    def press(at: int) -> Callable[[], float]:
        calls = iter(range(100))

        def figure() -> float:
            call = next(calls)
            if call == at:
                os.kill(os.getpid(), signal.SIGINT)
            return float(call)

        return figure

    with pytest.raises(TrainingInterruptedError):
        learn(BiEncoder(str(encoder), 24, 24), tmp_path / "cut", press(3))  # within the second epoch
    rising = iter(range(10, 100))
    resumed = learn(BiEncoder(str(encoder), 24, 24), tmp_path / "cut", lambda: next(rising), resume=True)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    start = BiEncoder(str(encoder), 24, 24).state_dict()
    assert any(not torch.equal(start[name], value) for name, value in whole.items())


def test_training_finds_what_it_is_shown(encoder: Path, tmp_path: Path) -> None:
    model = BiEncoder(str(encoder), 24, 24)

    def share_right() -> float:
        model.eval()
        with torch.no_grad():
            asked = model.embed_rows(model.tokenize_queries([query.text for query in QUERIES[:3]]))
            best = (asked @ model.embed_rows(model.tokenize(["red", "green", "blue"])).T).argmax(1).tolist()
        model.train()
        return (best[0] == 0) / 3 + (best[1] == 0) / 3 + (best[2] in (1, 2)) / 3

    learn(model, tmp_path, share_right, epochs=12)
    assert share_right() == pytest.approx(1.0)


def test_weights_between_two_states(model: BiEncoder) -> None:
    start = {name: torch.zeros_like(weight) for name, weight in model.state_dict().items()}
    end = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.interpolate(start, end, 0.25)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, 0.25 * end[name] if weight.is_floating_point() else end[name]), name
    for share, exactly in ((1.0, end), (0.0, start)):
        model.interpolate(start, end, share)
        floats = [name for name, weight in end.items() if weight.is_floating_point()]
        assert all(torch.equal(model.state_dict()[name], exactly[name]) for name in floats)


def test_bad_settings(encoder: Path, model: BiEncoder) -> None:
    with pytest.raises(
        ConfigError, match=r"passage_tokens or query_tokens = 500, but the encoder .* reads 128 at most"
    ):
        BiEncoder(str(encoder), 500, 24)
    with pytest.raises(ConfigError, match="unknown miner 'bm52': did you mean 'bm25'"):
        DenseConfig(mined_by=("bm52",))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="hard_negatives without a miner"):
        DenseConfig(mined_by=())
    with pytest.raises(ConfigError, match="unknown choice of fields 'titles': did you mean 'title'"):
        DenseConfig(fields="titles")  # type: ignore[arg-type]
    for shares in ((), (0.5,), (0.0, 1.0), (1.0, 1.5)):
        with pytest.raises(
            ConfigError, match=r"shares is \[.*\]: expected numbers above 0 and up to 1, 1\.0 among them"
        ):
            DenseConfig(shares=shares)
    with pytest.raises(ConfigError, match=r"scale is 0\.0: expected a number above 0"):
        DenseConfig(scale=0.0)
    with pytest.raises(ConfigError, match=r"unknown measure 'nDGC@10': did you mean 'nDCG@10'"):
        DenseConfig(dev_measure="nDGC@10")
    with pytest.raises(DataError, match="training query 'p' names the document 'x', which is unknown"):
        make_training_set(model, CORPUS, QUERIES[:1], Qrels({"p": {"x": 1}}), {}, SMALL)
    with pytest.raises(DataError, match="no training query has a relevant document"):
        make_training_set(model, CORPUS, QUERIES[3:], QRELS, {}, SMALL)
