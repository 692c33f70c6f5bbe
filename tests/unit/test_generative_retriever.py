"""Generative retrieval: beams against exhaustive scoring, shared identifiers, buckets, one tree."""

from itertools import product
from typing import Any

import pytest
import torch

from docids.table import DocIDTable
from genir.errors import ConfigError
from genir.records import Query
from retrievers.generative import GenerativeRetriever
from tests.hash_identifier_model import HashIdentifierModel

TOKENS = {f"d{''.join(map(str, digits))}": digits for digits in product(range(3), repeat=3)}
RAGGED = {"a": (1,), "b": (1, 2), "c": (1, 2, 0), "d": (2,), "e": (0, 0, 0, 0)}  # one a prefix of another
QUERIES = [Query(f"q{i}", "word " * (7 * i % 5 + 1) + str(i)) for i in range(12)]


def table(tokens: Any = TOKENS) -> DocIDTable:
    return DocIDTable("test", tokens, vocab_size=10)


@pytest.mark.parametrize("tokens", [TOKENS, RAGGED])
@pytest.mark.parametrize("end_token", [None, 9])
@pytest.mark.parametrize("scoring", ["vocabulary", "logits"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_with_nothing_pruned_the_search_is_exhaustive(
    tokens: Any, end_token: int | None, scoring: Any, length_penalty: float
) -> None:
    if length_penalty and len({len(t) for t in tokens.values()}) > 1:
        pytest.skip("with a length penalty the early stop may pass over longer identifiers: beam search's known gap")
    model = HashIdentifierModel(10, end_token, scoring)
    settings: dict[str, Any] = {"num_beams": 50, "length_penalty": length_penalty}
    searched = GenerativeRetriever(model, table(tokens), **settings).search(QUERIES, 50)
    scored = GenerativeRetriever(model, table(tokens), **settings, exhaustive=True).search(QUERIES, 50)
    assert searched.rankings.keys() == scored.rankings.keys()
    for query_id, ranking in searched.rankings.items():
        assert [found.doc_id for found in ranking] == [found.doc_id for found in scored.rankings[query_id]]
        assert [found.score for found in ranking] == pytest.approx(
            [found.score for found in scored.rankings[query_id]], abs=1e-4
        )
        assert len(ranking) == len(tokens)


def test_documents_under_one_identifier_share_its_score_in_order_of_doc_id() -> None:
    shared = table({"z": (1, 2), "m": (3, 4), "a": (1, 2), "k": (1, 2)})
    retriever = GenerativeRetriever(HashIdentifierModel(), shared)
    ranking = retriever.search([Query("q", "text")], 10).rankings["q"]
    group = [found for found in ranking if found.doc_id != "m"]
    assert [found.doc_id for found in group] == ["a", "k", "z"]
    assert len({found.score for found in group}) == 1
    cut = retriever.search([Query("q", "text")], 2).rankings["q"]
    assert cut == ranking[:2]


def test_fewer_beams_find_fewer_identifiers_and_say_so() -> None:
    retriever = GenerativeRetriever(HashIdentifierModel(), table(), num_beams=4)
    with pytest.warns(UserWarning, match="k is 10, but 4 beams find at most as many identifiers: raise num_beams"):
        run = retriever.search(QUERIES, 10)
    assert {len(ranking) for ranking in run.rankings.values()} == {4}


@pytest.mark.filterwarnings("error")
def test_a_corpus_smaller_than_k_needs_no_warning() -> None:
    run = GenerativeRetriever(HashIdentifierModel(), table(RAGGED), num_beams=5).search(QUERIES[:1], 100)
    assert len(run.rankings["q0"]) == 5


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batches_hold_queries_of_like_length_and_change_nothing(batch_size: int) -> None:
    model = HashIdentifierModel()
    run = GenerativeRetriever(model, table(), batch_size=batch_size).search(QUERIES, 5)
    assert list(run.rankings) == [query.query_id for query in QUERIES]
    assert run == GenerativeRetriever(HashIdentifierModel(), table()).search(QUERIES, 5)
    lengths = [len(text) for batch in model.batches for text in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert max(map(len, model.batches)) == min(batch_size, len(QUERIES))


def test_the_tree_is_built_once_and_not_by_the_constructor() -> None:
    class Counting(DocIDTable):
        asked = 0

        def identifiers(self) -> list[tuple[int, ...]]:
            Counting.asked += 1
            return super().identifiers()

    retriever = GenerativeRetriever(HashIdentifierModel(), Counting("test", TOKENS, vocab_size=10))
    assert Counting.asked == 0
    retriever.search(QUERIES, 5)
    tree = retriever.constraint
    retriever.search(QUERIES, 5)
    assert (Counting.asked, retriever.constraint is tree) == (1, True)


def test_the_tree_follows_the_model_to_its_device() -> None:
    class Elsewhere(HashIdentifierModel):
        device = torch.device("meta")

    assert GenerativeRetriever(Elsewhere(), table()).constraint.tokens.device.type == "meta"


def test_a_blank_query_never_reaches_the_model() -> None:
    model = HashIdentifierModel()
    run = GenerativeRetriever(model, table()).search([Query("blank", " "), Query("q", "text")], 3)
    assert (run.rankings["blank"], model.batches) == ((), [["text"]])


@pytest.mark.parametrize("settings", [{"num_beams": 0}, {"batch_size": 0}])
def test_bad_settings(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected at least 1 of each"):
        GenerativeRetriever(HashIdentifierModel(), table(), **settings)  # type: ignore[arg-type]
