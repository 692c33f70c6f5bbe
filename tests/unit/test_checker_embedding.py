"""Support by closeness, with an encoder whose vectors are sums of words."""

import pytest

from rag.checkers import embedding
from rag.checkers.embedding import EmbeddingChecker
from rag.verification import NO_SUPPORT, Statement, SupportChecker
from tests.tiny_text_models import WordEncoder


class CountingEncoder(WordEncoder):
    def encode(self, texts, progress=""):  # type: ignore[no-untyped-def]
        self.seen = [*getattr(self, "seen", []), *texts]
        return super().encode(texts, progress)


def test_the_best_sentence_counts() -> None:
    checker = EmbeddingChecker(WordEncoder())
    assert isinstance(checker, SupportChecker)
    assert checker.name == "embedding:words"
    evidence = "nothing of it here. Oslo lies there. More still follows."
    same, near, empty, nothing = checker.check(
        [
            Statement("Oslo lies there.", evidence),
            Statement("Oslo lies elsewhere.", evidence),
            Statement(" ", evidence),
            Statement("Oslo lies there.", ""),
        ]
    )
    assert same.supported == pytest.approx(1.0)
    assert 0.0 < near.supported < same.supported
    assert (empty, nothing) == (NO_SUPPORT, NO_SUPPORT)
    assert checker.check([]) == []


def test_the_question_is_embedded_with_the_claim() -> None:
    [found] = EmbeddingChecker(WordEncoder()).check([Statement("Oslo", "where is Oslo", "where is")])
    assert found.supported == pytest.approx(1.0)


def test_a_text_is_embedded_once() -> None:
    encoder = CountingEncoder()
    EmbeddingChecker(encoder).check([Statement("a claim", "One. Two."), Statement("a claim", "Two. One.")])
    assert sorted(encoder.seen) == ["One.", "Two.", "a claim"]


def test_vectors_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = CountingEncoder()
    checker = EmbeddingChecker(encoder)
    first = checker.check([Statement("a claim", "One. Two.")])
    assert checker.check([Statement("a claim", "One. Two.")]) == first
    assert len(encoder.seen) == 3
    monkeypatch.setattr(embedding, "MOST_KEPT", 3)
    assert checker.check([Statement("a claim", "One. Two.")]) == first
    assert len(encoder.seen) == 6
