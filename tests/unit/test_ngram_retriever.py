"""The n-gram retriever: exhaustive beams against the formulas over all n-grams, updates, settings, a real decoder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from genir.beam_search import Hypothesis, search
from genir.constraints.fm_index import FMIndex
from genir.errors import ConfigError, DataError
from genir.protocols import Retriever
from genir.records import Query
from retrievers.ngram import NgramRetriever, NgramSettings
from retrievers.ngram_scoring import intersective_scores, unconditional, weight
from tests.fm_index_oracle import scan
from tests.hash_identifier_model import HashIdentifierModel

DOCUMENTS = [(1, 2, 3, 4), (2, 3, 9), (), (5, 1, 2), (7,), (1, 2, 3, 4), (8, 8, 8), (9, 1)]
DOC_IDS = ["c", "b", "empty", "e", "a", "d", "f", "g"]
QUERIES = [Query(f"q{i}", "word " * (7 * i % 5 + 1) + str(i)) for i in range(12)]


def retriever(documents: Sequence[Sequence[int]] = DOCUMENTS, **settings: Any) -> NgramRetriever:
    return NgramRetriever(
        HashIdentifierModel(), FMIndex.build(documents), DOC_IDS[: len(documents)], NgramSettings(**settings)
    )


def expected_scores(text: str, max_length: int, alpha: float, beta: float) -> dict[str, float]:
    """The formulas over every n-gram of the corpus, with the model's own scores of whole sequences."""
    found = scan(dict(enumerate(DOCUMENTS)), max_length)
    ngrams = sorted(found)
    total = sum(map(len, DOCUMENTS))
    log_conditional = HashIdentifierModel().score([text], ngrams)[0].double().numpy()
    w = weight(log_conditional, unconditional(np.array([len(found[ngram]) for ngram in ngrams]), total))
    rows = [(place, d, i + len(ngram)) for place, ngram in enumerate(ngrams) for d, i in found[ngram] if w[place] > 0]
    places, numbers, ends = np.array(rows).T
    documents, scores = intersective_scores(ngrams, w, (places, numbers, ends), alpha, beta)
    return {DOC_IDS[number]: score for number, score in zip(documents.tolist(), scores.tolist(), strict=True)}


@pytest.mark.parametrize(("max_length", "alpha", "beta"), [(1, 1.0, 0.0), (3, 2.0, 0.8), (4, 1.0, 1.0)])
def test_with_a_beam_for_each_ngram_it_scores_by_all_of_them(max_length: int, alpha: float, beta: float) -> None:
    run = retriever(num_beams=40, max_length=max_length, alpha=alpha, beta=beta).search(QUERIES, 100)
    for query in QUERIES:
        found = {scored.doc_id: scored.score for scored in run.rankings[query.query_id]}
        assert found == pytest.approx(expected_scores(query.text, max_length, alpha, beta), rel=1e-4)


def test_it_is_a_retriever_whose_ties_go_by_doc_id() -> None:
    made = retriever()
    assert isinstance(made, Retriever)
    run = made.search(QUERIES, 100)
    assert list(run.rankings) == [query.query_id for query in QUERIES]
    for ranking in run.rankings.values():
        assert list(ranking) == sorted(ranking, key=lambda scored: (-scored.score, scored.doc_id))
        assert all(type(scored.score) is float for scored in ranking)
        places = {scored.doc_id: place for place, scored in enumerate(ranking)}
        assert ("c" in places) == ("d" in places)
        assert "c" not in places or places["d"] == places["c"] + 1  # the same text


def test_a_smaller_k_is_the_beginning_and_a_batch_changes_nothing() -> None:
    whole = retriever(batch_size=5).search(QUERIES, 50).rankings
    assert retriever(batch_size=1).search(QUERIES, 2).rankings == {name: found[:2] for name, found in whole.items()}


def test_the_order_of_the_corpus_does_not_matter() -> None:
    turned = NgramRetriever(HashIdentifierModel(), FMIndex.build(DOCUMENTS[::-1]), DOC_IDS[::-1])
    assert turned.search(QUERIES, 50) == retriever().search(QUERIES, 50)


def test_updates_answer_as_a_rebuild() -> None:
    index = FMIndex.build(DOCUMENTS[:5]).with_documents(DOCUMENTS[5:]).without_documents([3, 5])
    rebuilt = FMIndex.build([() if number in (3, 5) else document for number, document in enumerate(DOCUMENTS)])
    updated, anew = (
        NgramRetriever(HashIdentifierModel(), made, DOC_IDS).search(QUERIES, 50) for made in (index, rebuilt)
    )
    assert updated == anew
    assert not {"e", "d"} & {scored.doc_id for ranking in updated.rankings.values() for scored in ranking}


def test_every_ngram_among_the_beams_counts_not_only_the_longest() -> None:
    made = retriever(num_beams=2, max_length=3)
    (found,) = search(made.model.begin(["text"]), made.index, 1, made.decoding)
    assert Counter(len(hypothesis.tokens) for hypothesis in found) == {1: 2, 2: 2, 3: 2}
    assert not any(held <= 0 for held in made.score(found).values())


def test_frequent_ngrams_may_be_left_out() -> None:
    index, model = FMIndex.build([(1,), (1,), (2,)]), HashIdentifierModel()
    every, rare = (NgramRetriever(model, index, "xyz", NgramSettings(max_occurrences=most)) for most in (0, 1))
    found = [Hypothesis(index.find((token,)), (token,), -0.1) for token in (1, 2)]
    assert every.score(found).keys() == {"x", "y", "z"}
    assert rare.score(found).keys() == {"z"}


def test_a_blank_query_never_reaches_the_model() -> None:
    made = retriever()
    assert made.search([Query("blank", " \n"), Query("none", "")], 3).rankings == {"blank": (), "none": ()}
    assert made.search([], 3).rankings == {}
    assert made.model.batches == []  # type: ignore[attr-defined]


def test_a_search_changes_no_setting() -> None:
    made = retriever()
    made.search(QUERIES, 3)
    assert made.settings == NgramSettings()
    with pytest.raises(FrozenInstanceError):
        made.settings.num_beams = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 0}, "num_beams is 0, max_length 10"),
        ({"max_length": 0}, "expected at least 1 of the first three"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"max_occurrences": -1}, "max_occurrences -1"),
        ({"alpha": -1.0}, "alpha is -1.0 and beta 0.8"),
        ({"beta": 1.5}, "expected alpha from 0, and beta from 0 to 1"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NgramSettings(**settings)


def test_bad_input() -> None:
    with pytest.raises(DataError, match="2 doc_ids for an index of 8 documents: give one for each number"):
        NgramRetriever(HashIdentifierModel(), FMIndex.build(DOCUMENTS), ["a", "b"])
    with pytest.raises(ConfigError, match="k is 0"):
        retriever().search(QUERIES, 0)
    with pytest.raises(DataError, match="holds token 70, but the model writes tokens 0 to 9 only"):
        retriever([(70,)]).search(QUERIES, 1)


def test_a_text_model_writes_pieces_of_the_passages() -> None:
    from tests.unit.test_seq2seq import build

    model = build(own_tokens=False)
    passages = ["a b c d", "d a b", "k l", "c c c a"]
    documents = [model.tokenizer(text)["input_ids"] for text in passages]
    index = FMIndex.build(documents)
    made = NgramRetriever(model, index, ["w", "x", "y", "z"], NgramSettings(num_beams=30, max_length=3))
    ngrams = sorted(scan(dict(enumerate(documents)), 3))
    (found,) = search(model.begin(["a b c"]), index, 1, made.decoding)
    assert sorted(hypothesis.tokens for hypothesis in found) == ngrams
    run = made.search([Query("q", "a b c")], 4)
    assert {scored.doc_id for scored in run.rankings["q"]} <= {"w", "x", "y", "z"}
    assert run.rankings["q"]
