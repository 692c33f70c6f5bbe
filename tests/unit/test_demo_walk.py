"""The walk of an identifier over its tree: what was kept was kept by the search itself, and shares are the model's."""

import pytest
import torch

from experiments.demo.tree_view import tree_html, tree_svg
from experiments.demo.walk import Shelf, _step, can_walk, search_and_walk, shelf_of
from experiments.demo.wording import ENGLISH
from genir.records import Query
from tests.small_library import DOCUMENTS, IDENTIFIERS, generative_retriever

QUESTION = "What is the capital of Peru?"
TITLES = {document.doc_id: document.title for document in DOCUMENTS}


def test_a_shelf_holds_documents_behind_a_prefix() -> None:
    shelf = Shelf({"a": (0, 4), "b": (0,), "c": (1, 2), "d": (0, 4, 5)}, {"a": "A"})
    assert list(shelf.behind(())) == ["b", "a", "d", "c"]
    assert list(shelf.behind((0,))) == ["b", "a", "d"]
    assert list(shelf.behind((0, 4))) == ["a", "d"]
    assert list(shelf.behind((2,))) == []
    assert (shelf.title_of("a"), shelf.title_of("b")) == ("A", "b")


def test_watching_changes_no_ranking() -> None:
    retriever = generative_retriever()
    shelf = shelf_of(retriever, TITLES)
    for document in DOCUMENTS:
        ranking, walk = search_and_walk(retriever, document.text, 2, shelf)
        expected = retriever.search([Query("q", document.text)], 2).rankings["q"]
        assert ranking == expected
        assert walk is not None
        assert walk.doc_id == expected[0].doc_id
        assert walk.docid_tokens == IDENTIFIERS[[one.doc_id for one in DOCUMENTS].index(walk.doc_id)]


def test_a_walk_tells_what_the_beam_did() -> None:
    retriever = generative_retriever()
    _, walk = search_and_walk(retriever, QUESTION, 2, shelf_of(retriever, TITLES))
    assert walk is not None
    first = walk.steps[0]
    logits = retriever.model.logits(QUESTION, ())  # type: ignore[attr-defined]
    shares = logits[:3].softmax(0)  # tokens 0, 1 and 2 begin an identifier
    best = torch.topk(logits[:3], 2).indices.tolist()  # two beams
    assert {one.token: pytest.approx(one.share) for one in first.options} == dict(enumerate(shares.tolist()))
    assert sorted(one.token for one in first.options if one.kept) == sorted(best)
    assert first.options[0].chosen
    assert [step.options[0].token for step in walk.steps] == list(walk.docid_tokens)
    assert [step.beams for step in walk.steps][:2] == [1, 2]
    for step in walk.steps:
        assert sum(one.share for one in step.options) == pytest.approx(1.0)
        assert step.options[0].documents >= 1
        assert walk.title in step.options[0].titles


def test_what_the_beam_dropped_is_told_as_dropped() -> None:
    retriever = generative_retriever()
    _, walk = search_and_walk(retriever, QUESTION, 2, shelf_of(retriever, TITLES))
    assert walk is not None
    dropped = [one for one in walk.steps[0].options if not one.kept]
    assert len(dropped) == 1
    found = {one.doc_id for one in retriever.search([Query("q", QUESTION)], 2).rankings["q"]}
    shelf = shelf_of(retriever, TITLES)
    assert not found & set(shelf.behind((dropped[0].token,)))


def test_a_blank_question_has_no_walk() -> None:
    retriever = generative_retriever()
    assert search_and_walk(retriever, " ", 2, shelf_of(retriever, TITLES)) == ((), None)


def test_only_trees_of_one_identifier_a_document_are_walked() -> None:
    from retrievers.bm25 import BM25Retriever

    assert can_walk(generative_retriever())
    assert not can_walk(BM25Retriever())


def test_the_drawing_shows_every_option() -> None:
    retriever = generative_retriever()
    _, walk = search_and_walk(retriever, QUESTION, 2, shelf_of(retriever, TITLES))
    assert walk is not None
    svg = tree_svg(walk, ENGLISH)
    options = [one for step in walk.steps for one in step.options]
    assert svg.count('class="box ') == len(options)
    assert svg.count('class="box written"') == len(walk.steps)
    assert svg.count('class="box dropped"') == sum(not one.kept for one in options)
    assert svg.count('class="step"') == len(walk.steps) + 1  # the document stands at the end
    assert "dropped by the beam" in tree_html(walk, ENGLISH)


def test_dropped_options_are_shown_beside_many_that_were_kept() -> None:
    shelf = Shelf({str(token): (token,) for token in range(10)}, {})
    step = _step([(token, (9 - token) / 45, token < 8) for token in range(10)], 3, (), shelf, 9)
    assert [(one.token, one.kept) for one in step.options] == [(3, True), (0, True), (1, True), (8, False), (9, False)]
    assert (step.more, step.beams) == (5, 9)
    alone = _step([(0, 0.6, True), (1, 0.4, False)], 0, (), shelf, 1)
    assert [one.token for one in alone.options] == [0, 1]
