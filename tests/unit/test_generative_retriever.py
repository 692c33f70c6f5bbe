"""Generative retrieval: beams against exhaustive scoring, shared identifiers, buckets, one tree."""

from itertools import product
from typing import Any

import pytest
import torch

from docids.table import DocIDTable
from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.errors import ConfigError, DataError
from genir.records import Query
from retrievers.generative import GenerativeRetriever, GenerativeSettings
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
    model = HashIdentifierModel(10, end_token, scoring)
    settings: dict[str, Any] = {"num_beams": 50, "length_penalty": length_penalty}
    searched = GenerativeRetriever(model, table(tokens), GenerativeSettings(**settings)).search(QUERIES, 50)
    scored = GenerativeRetriever(model, table(tokens), GenerativeSettings(**settings, exhaustive=True)).search(
        QUERIES, 50
    )
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
    retriever = GenerativeRetriever(HashIdentifierModel(), table(), GenerativeSettings(num_beams=4))
    with pytest.warns(UserWarning, match="k is 10, but 4 beams find at most as many identifiers: raise num_beams"):
        run = retriever.search(QUERIES, 10)
    assert {len(ranking) for ranking in run.rankings.values()} == {4}


@pytest.mark.filterwarnings("error")
def test_a_corpus_smaller_than_k_needs_no_warning() -> None:
    run = GenerativeRetriever(HashIdentifierModel(), table(RAGGED), GenerativeSettings(num_beams=5)).search(
        QUERIES[:1], 100
    )
    assert len(run.rankings["q0"]) == 5


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batches_hold_queries_of_like_length_and_change_nothing(batch_size: int) -> None:
    model = HashIdentifierModel()
    run = GenerativeRetriever(model, table(), GenerativeSettings(batch_size=batch_size)).search(QUERIES, 5)
    assert list(run.rankings) == [query.query_id for query in QUERIES]
    assert run == GenerativeRetriever(HashIdentifierModel(), table()).search(QUERIES, 5)
    lengths = [len(text) for batch in model.batches for text in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert max(map(len, model.batches)) == min(batch_size, len(QUERIES))


def test_the_tree_is_built_once_and_not_by_the_constructor() -> None:
    retriever = GenerativeRetriever(HashIdentifierModel(), table())
    assert "index" not in vars(retriever)
    retriever.search(QUERIES, 5)
    tree = retriever.constraint
    retriever.search(QUERIES, 5)
    assert retriever.constraint is tree


def test_the_tree_follows_the_model_to_its_device() -> None:
    class Elsewhere(HashIdentifierModel):
        device = torch.device("meta")

    assert GenerativeRetriever(Elsewhere(), table()).constraint.device.type == "meta"


def test_a_token_that_the_model_does_not_have() -> None:
    with pytest.raises(DataError, match=r"token 9, expected 0 to 6"):
        GenerativeRetriever(HashIdentifierModel(7), table({"a": (1, 9)})).search(QUERIES, 1)


@pytest.mark.parametrize("end_token", [None, 9])
def test_documents_come_and_go(end_token: int | None) -> None:
    """A retriever whose documents were added and removed answers like one that was built of those that are left."""
    settings = GenerativeSettings(num_beams=50)
    model = HashIdentifierModel(10, end_token)
    first = GenerativeRetriever(model, table(RAGGED), settings)
    before = first.search(QUERIES, 9)
    changed = first.without_documents(["a", "d"]).with_documents({"f": (1, 2), "g": (4, 4)}).without_documents(["b"])
    left = table({"c": (1, 2, 0), "e": (0, 0, 0, 0), "f": (1, 2), "g": (4, 4)})
    for exhaustive in (False, True):
        settings = GenerativeSettings(num_beams=50, exhaustive=exhaustive)
        changed.settings = settings
        assert changed.search(QUERIES, 9) == GenerativeRetriever(model, left, settings).search(QUERIES, 9)
    again = changed.with_documents({"a": (1,)})
    assert {found.doc_id for found in again.search(QUERIES, 9).rankings["q0"]} == {"a", "c", "e", "f", "g"}
    assert first.search(QUERIES, 9) == before
    with pytest.raises(DataError, match="document 'a' is not in the index: it cannot be removed"):
        changed.without_documents(["a"])
    with pytest.raises(DataError, match="document 'g' is in the index already: remove it first"):
        changed.with_documents({"g": (5,)})
    nothing = changed.without_documents(["c", "e", "f", "g"])
    assert set(nothing.search(QUERIES, 9).rankings.values()) == {()}


def test_an_identifier_longer_than_the_model_writes() -> None:
    model = HashIdentifierModel()
    model.max_identifier = 3  # type: ignore[attr-defined]
    retriever = GenerativeRetriever(model, table())
    with pytest.raises(DataError, match="an identifier has 4 tokens, but the model was made for 3 at most"):
        retriever.with_documents({"new": (1, 1, 1, 1)})


@pytest.mark.parametrize("scoring", ["vocabulary", "allowed", "logits"])
def test_the_settings_reach_the_search(scoring: Any) -> None:
    settings = GenerativeSettings(num_beams=4, scoring=scoring, num_beam_groups=2, diversity_penalty=0.5)
    model = HashIdentifierModel()
    run = GenerativeRetriever(model, table(), settings).search(QUERIES[:1], 4)
    tree = PrefixTree.build(list(TOKENS.values()))
    options: dict[str, Any] = {"num_beam_groups": 2, "diversity_penalty": 0.5, "scoring": scoring}
    found = beam_search(model.begin([QUERIES[0].text]), tree, 1, 4, **options)
    expected = {"d" + "".join(map(str, hypothesis.tokens)): hypothesis.score for hypothesis in found[0]}
    assert {one.doc_id: one.score for one in run.rankings["q0"]} == expected


def test_a_blank_query_never_reaches_the_model() -> None:
    model = HashIdentifierModel()
    run = GenerativeRetriever(model, table()).search([Query("blank", " "), Query("q", "text")], 3)
    assert (run.rankings["blank"], model.batches) == ((), [["text"]])


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="leave scoring 'allowed' out"):
        GenerativeSettings(exhaustive=True, scoring="allowed")
    with pytest.raises(ConfigError, match=r"unknown scoring 'alowed': did you mean 'allowed'\?"):
        GenerativeSettings(scoring="alowed")  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"num_beams": 0}, {"batch_size": 0}])
def test_bad_settings(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected at least 1 of each"):
        GenerativeRetriever(HashIdentifierModel(), table(), GenerativeSettings(**settings))  # type: ignore[arg-type]
