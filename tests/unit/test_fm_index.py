"""The FM-index counts, locates and continues exactly the n-grams of its documents, whatever was added and deleted."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.beam_search import beam_search
from genir.constraints.fm_index import FMIndex
from genir.errors import DataError
from tests.fm_index_oracle import Ngram, assert_answers, scan, walk
from tests.hash_identifier_model import HashIdentifierModel

corpora = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=8).filter(any)


@settings(max_examples=100, deadline=None)
@given(corpora)
def test_equals_a_scan(documents: list[list[int]]) -> None:
    assert_answers(FMIndex.build(documents), scan(dict(enumerate(documents)), 12), 12)


def test_ngrams_that_are_not_there() -> None:
    index = FMIndex.build([(1, 2, 3), (), (3, 1)])
    for ngram in [(3, 3), (2, 1), (3, 3, 1), (4,), (0,), (-1,), (2**70,), (1, 2, 3, 3), (1, 9, 2)]:
        assert index.find(ngram) == 0
        assert (index.count(ngram), index.document_count(ngram)) == (0, 0)
        assert [len(tensor) for tensor in index.locate(ngram)] == [0, 0]
    with pytest.raises(DataError, match="an empty n-gram: it needs at least one token"):
        index.count(())


def test_the_start_and_the_empty_range() -> None:
    index = FMIndex.build([(5, 7), (7,)])
    assert index.start(3).tolist() == [index.start(1).item()] * 3
    assert index.start(0).shape == (0,)
    assert index.leaf(index.start(2)).tolist() == [-1, -1]
    nothing = torch.zeros(2, 2, dtype=torch.int64)
    assert index.leaf(nothing).tolist() == [[-1, -1], [-1, -1]]
    assert not index.continues(nothing).any()
    tokens, nodes, mask = index.children(nothing[0])
    assert (tokens.tolist(), nodes.tolist(), mask.tolist()) == ([[0], [0]], [[0], [0]], [[False], [False]])
    assert index.children(torch.tensor([], dtype=torch.int64))[0].shape == (0, 1)


def test_overlapping_occurrences_all_count() -> None:
    index = FMIndex.build([(1, 1, 1, 1), (1,)])
    assert (index.count((1, 1)), index.document_count((1,))) == (3, 2)
    assert [tensor.tolist() for tensor in index.locate((1, 1))] == [[0, 0, 0], [0, 1, 2]]


def test_tokens_beyond_32_bits_and_other_sequences() -> None:
    index = FMIndex.build([torch.tensor([2**62, 3]), range(3, 5)])
    assert [found.tolist() for found in index.locate((2**62, 3))] == [[0], [0]]
    assert index.count((3,)) == 2


def test_properties() -> None:
    index = FMIndex.build([(1, 2, 3), (), (3, 1)])
    assert (index.num_documents, index.next_document, index.num_tokens, index.num_rows) == (3, 3, 5, 8)
    assert index.nbytes > 0
    assert index.to("meta").start(2).device.type == "meta"


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "no tokens: an FM-index needs at least one document with a token"),
        ([(), ()], "no tokens: an FM-index needs at least one document with a token"),
        ([(1,), (2, -3)], "document 1 holds the negative token -3; tokens start at 0"),
        ([(1.5,)], "document 0 is no list of tokens: expected whole numbers from 0 to 2\\^63 - 1"),
        ([(1,), (2**64,)], "document 1 is no list of tokens"),
        ([(1,), (2**63,)], "document 1 is no list of tokens"),
        ([("a",)], "document 0 is no list of tokens"),
        ([[(1, 2)]], "document 0 is no list of tokens"),
    ],
)
def test_refuses(documents: list[Ngram], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FMIndex.build(documents)


def every_score(model: HashIdentifierModel, text: str, ngrams: Sequence[Ngram]) -> dict[Ngram, float]:
    return dict(zip(ngrams, model.score([text], ngrams)[0].tolist(), strict=True))


@settings(max_examples=15, deadline=None)
@given(corpora, st.integers(1, 4))
def test_with_a_beam_for_each_ngram_a_search_is_exhaustive(documents: list[list[int]], max_length: int) -> None:
    index, model = FMIndex.build(documents), HashIdentifierModel(4)
    ngrams = sorted(scan(dict(enumerate(documents)), max_length))
    (found,) = beam_search(
        model.begin(["text"]), index, 1, len(ngrams), scoring="vocabulary", max_length=max_length, num_return=10**4
    )
    assert {hypothesis.tokens: hypothesis.score for hypothesis in found} == pytest.approx(
        every_score(model, "text", ngrams), abs=1e-4
    )
    assert all(hypothesis.leaf == index.find(hypothesis.tokens) for hypothesis in found)


@settings(max_examples=15, deadline=None)
@given(corpora, st.integers(1, 3))
def test_with_few_beams_every_ngram_is_in_the_corpus(documents: list[list[int]], num_beams: int) -> None:
    index, model = FMIndex.build(documents), HashIdentifierModel(4)
    texts = ["one text", "another"]
    rows = beam_search(model.begin(texts), index, 2, num_beams, scoring="vocabulary", max_length=5, num_return=99)
    for text, found in zip(texts, rows, strict=True):
        scores = every_score(model, text, sorted(scan(dict(enumerate(documents)), 5)))
        assert found
        for hypothesis in found:
            assert hypothesis.score == pytest.approx(scores[hypothesis.tokens], abs=1e-4)


def passages(folder: Path, count: int) -> list[str]:
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line, _ in zip(lines, range(count), strict=False)]


@pytest.mark.parametrize(
    ("name", "unit"), [("squad-small", "word"), ("xquad-en", "word"), ("drcd", "character"), ("xquad-zh", "character")]
)
def test_real_text(shared_data: Path, name: str, unit: str) -> None:
    texts = passages(shared_data / name, 15)
    pieces = [text.split() if unit == "word" else list(text) for text in texts]
    vocabulary = {piece: token for token, piece in enumerate(sorted({piece for text in pieces for piece in text}))}
    documents = [[vocabulary[piece] for piece in text] for text in pieces]
    index, found = FMIndex.build(documents), scan(dict(enumerate(documents)), 4)
    assert dict(walk(index, 4)).keys() == found.keys()
    for ngram, occurrences in list(found.items())[::17] + sorted(found.items(), key=lambda item: -len(item[1]))[:10]:
        assert list(zip(*(tensor.tolist() for tensor in index.locate(ngram)), strict=True)) == occurrences
        assert index.count(ngram) == len(occurrences)
        assert index.document_count(ngram) == len({number for number, _ in occurrences})
        following = Counter(
            documents[number][start + len(ngram)]
            for number, start in occurrences
            if start + len(ngram) < len(documents[number])
        )
        tokens, nodes, mask = index.children(torch.tensor([index.find(ngram)]))
        assert dict(zip(tokens[mask].tolist(), index.counts(nodes[mask]).tolist(), strict=True)) == following
