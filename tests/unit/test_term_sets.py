"""Sets of terms start as Lucene's BM25."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genir.errors import ArtefactError, ConfigError, DataError
from genir.lexicon import Lexicon, LexiconSettings
from genir.records import Dataset, Document, Query
from genir.term_sets import TermCounts, TermSets, TermSetSettings
from retrievers.bm25 import BM25Retriever

WORDS = TermSetSettings(lexicon=LexiconSettings(phrases=False))


def scores_of(sets: TermSets, text: str) -> np.ndarray:
    """By hand: a loop over the question's occurrences and the documents that hold each."""
    scores = np.zeros(len(sets))
    for found in Lexicon(sets.settings.lexicon).occurrences(text):
        if found.term in sets.terms:
            number = sets.terms.index(found.term)
            for entry in range(int(sets.pointers[number]), int(sets.pointers[number + 1])):
                scores[int(sets.documents[entry])] += float(sets.importance[number]) * float(sets.weights[entry])
    return scores


def test_without_phrases_scores_are_those_of_bm25(tiny_dataset: Dataset) -> None:
    corpus = [one for one in tiny_dataset.corpus if one.doc_id != "d4"]  # BM25 of the retriever counts pairs as words
    raised = replace(WORDS, k1=1.4, b=0.8, title_boost=2.0)
    for settings, fields in ((WORDS, ("title", "text")), (raised, ("title", "title", "text"))):
        sets = TermSets.build(corpus, settings)
        bm25 = BM25Retriever(settings.k1, settings.b, fields=fields).build(corpus)
        for text in ("What is the capital of Norway?", "the river Nile flows north, north"):
            run = bm25.search([Query("q", text)], 10).rankings["q"]
            expected = {one.doc_id: one.score for one in run}
            found = dict(zip(sets.doc_ids, scores_of(sets, text), strict=True))
            assert {doc_id for doc_id, score in found.items() if score > 0} == set(expected)
            for doc_id, score in expected.items():
                assert found[doc_id] == pytest.approx(score, rel=1e-5)


def test_a_field_that_does_not_count_is_as_if_it_were_not_there(tiny_dataset: Dataset) -> None:
    titles = TermSets.build(tiny_dataset.corpus, replace(WORDS, text_boost=0.0))
    assert scores_of(titles, "Oslo")[0] > 0
    assert not scores_of(titles, "fjord").any()
    only = TermSets.build([replace(one, text="") for one in tiny_dataset.corpus], WORDS)
    np.testing.assert_allclose(scores_of(titles, "Lima and Oslo"), scores_of(only, "Lima and Oslo"), rtol=1e-5)


def test_phrases_count_as_much_as_they_are_told_to() -> None:
    corpus = [Document("a", "red house"), Document("b", "house red"), Document("c", "blue")]
    sets = TermSets.build(corpus, TermSetSettings(phrase_weight=0.5))
    plain = TermSets.build(corpus, TermSetSettings(phrase_weight=0.0))
    together, words = scores_of(sets, "red house"), scores_of(plain, "red house")
    assert words[0] == words[1]
    assert together[0] > together[1] == pytest.approx(words[1])
    whole = TermSets.build(corpus, TermSetSettings(phrase_weight=1.0))
    assert together[0] - words[0] == pytest.approx((scores_of(whole, "red house")[0] - words[0]) / 2)


def test_rare_phrases_can_be_left_out_and_words_never_are() -> None:
    corpus = [Document("a", "red house"), Document("b", "red house"), Document("c", "blue house")]
    counts = TermCounts.of(corpus, LexiconSettings(), min_documents=2)
    assert counts.terms == ("blue", "hous", "red", "red hous")


def test_entries_of_a_term_stand_together_and_documents_ascend(tiny_dataset: Dataset) -> None:
    sets = TermSets.build(tiny_dataset.corpus)
    assert sets.pointers[0] == 0
    assert sets.pointers[-1] == len(sets.documents) == len(sets.weights)
    for first, last in zip(sets.pointers, sets.pointers[1:], strict=False):
        assert first < last
        assert bool((sets.documents[first : last - 1] < sets.documents[first + 1 : last]).all())


def test_saved_sets_are_loaded_equal(tiny_dataset: Dataset, tmp_path: Path) -> None:
    sets = TermSets.build(tiny_dataset.corpus, TermSetSettings(k1=1.1, title_boost=2.0))
    sets.save(tmp_path / "terms")
    again = TermSets.load(tmp_path / "terms")
    assert (again.settings, again.doc_ids, again.terms) == (sets.settings, sets.doc_ids, sets.terms)
    for name in ("pointers", "documents", "weights", "importance"):
        assert torch.equal(getattr(again, name), getattr(sets, name))


def test_a_broken_folder_is_one_clear_line(tiny_dataset: Dataset, tmp_path: Path) -> None:
    TermSets.build(tiny_dataset.corpus).save(tmp_path)
    (tmp_path / "terms.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtefactError, match="no readable term sets"):
        TermSets.load(tmp_path)


def test_a_corpus_without_letters_is_refused() -> None:
    with pytest.raises(DataError, match="none of 2 documents holds a letter or digit"):
        TermSets.build([Document("a", "…"), Document("b", "🙂")])


@pytest.mark.parametrize(
    "wrong", [{"k1": -1.0}, {"b": 1.5}, {"title_boost": 0.0, "text_boost": 0.0}, {"phrase_weight": -1.0}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        TermSetSettings(**wrong)  # type: ignore[arg-type]
