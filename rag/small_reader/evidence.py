"""Which sentence of the passages answers a question: a linear model over pairs of words, trained in seconds.

A pair is a word of the question with a word of the sentence ("capital" with "seat"); its weight says whether such a question is answered
by such a sentence. The words of the passage's title are left out of the pairs, so that nothing is learnt about single entities. Beside the
pairs stand the share of common words, and how many of the question's rare words (names, numbers) stand in title or sentence: that is what
tells the right entity from its kin.

Known gap: like any bag of words it does not see order.
"""

import json
import random
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from genir.errors import ArtefactError, DataError
from genir.manifest import write_atomically, write_json
from genir.records import Document
from genir.words import ENGLISH_STOPWORDS
from rag.sentences import split_sentences, words
from rag.small_reader.data import Article, mentions

BUCKETS = 1 << 18  # of hashed word pairs
_DENSE = 5  # features behind the pairs: shared words, and four answers to "are the rare words here?"
_COMMON = 0.01  # a word of more than this share of the articles is common
# Of a question's words those that tell nothing of what is asked; "who" and "when" do.
_IDLE = ENGLISH_STOPWORDS - frozenset("what who whom whose when which where why how".split())
_FILES = ("selector.safetensors", "selector.json")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence: characters start..end of passage number `passage`, and the probability that it answers."""

    passage: int
    start: int
    end: int
    probability: float


class SentenceSelector:
    """`fit` on articles, or `load`; then `best`."""

    def __init__(self) -> None:
        self.weights = np.zeros(BUCKETS + _DENSE + 1, dtype=np.float32)  # the last is the bias
        self.common: frozenset[str] = frozenset()

    def fit(self, articles: Sequence[Article], seed: int = 0, epochs: int = 8) -> "SentenceSelector":
        """Learn from questions whose answer stands in just one sentence of their article.

        Wrong sentences are the article's others, and the right sentence of an article of another name. Raises DataError without questions.
        """
        from sklearn.linear_model import SGDClassifier

        self.common = _common_words(articles)
        pairs, right = _training_pairs(articles, random.Random(seed))
        if not any(right):
            raise DataError(
                "no question has its answer in just one sentence of its article: nothing to learn evidence from"
            )
        model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=epochs, tol=None, random_state=seed)
        model.fit(self._matrix(pairs), right)
        self.weights = np.append(model.coef_[0], model.intercept_).astype(np.float32)
        return self

    def best(self, question: str, passages: Sequence[Document]) -> Evidence | None:
        """The likeliest sentence of all passages, the earlier of equals; None where there is no sentence."""
        spans = [(i, *span) for i, passage in enumerate(passages) for span in split_sentences(passage.text)]
        if not spans:
            return None
        rows = [(passages[i].title, passages[i].text[start:end], question) for i, start, end in spans]
        logits = self._matrix(rows) @ self.weights[:-1] + self.weights[-1]
        top = int(np.argmax(logits))
        return Evidence(*spans[top], probability=float(0.5 + 0.5 * np.tanh(logits[top] / 2)))

    def save(self, folder: Path) -> None:
        """Write weights and common words into `folder`."""
        write_atomically(folder / _FILES[0], lambda path: save_file({"weights": self.weights}, path))
        write_json(folder / _FILES[1], sorted(self.common))

    @classmethod
    def load(cls, folder: Path) -> "SentenceSelector":
        """What `save` wrote. Raises ArtefactError where it is missing or broken."""
        selector = cls()
        try:
            selector.weights = load_file(folder / _FILES[0])["weights"]
            selector.common = frozenset(json.loads((folder / _FILES[1]).read_text(encoding="utf-8")))
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ArtefactError(
                f"{folder}: no evidence selector that can be read ({error}); train the reader again"
            ) from None
        return selector

    def _matrix(self, rows: Sequence[tuple[str, str, str]]) -> Any:
        """Sparse (len(rows), BUCKETS + _DENSE) features of (title, sentence, question)."""
        from scipy.sparse import csr_matrix

        starts, columns, values = [0], [], []
        for title, sentence, question in rows:
            for column, value in self._features(title, sentence, question):
                columns.append(column)
                values.append(value)
            starts.append(len(columns))
        return csr_matrix((values, columns, starts), shape=(len(rows), BUCKETS + _DENSE), dtype=np.float32)

    def _features(self, title: str, sentence: str, question: str) -> list[tuple[int, float]]:
        name, told, asked = set(words(title)), words(sentence), words(question)
        spoken = [word for word in told if word not in name and word not in ENGLISH_STOPWORDS]
        wanted = [word for word in asked if word not in name and word not in _IDLE]
        pairs = [zlib.crc32(f"{q}\0{s}".encode()) % BUCKETS for q in wanted for s in spoken]
        features = [(pair, len(pairs) ** -0.5) for pair in pairs]
        features.append((BUCKETS, len(set(wanted) & set(spoken)) / 3))
        rare = {word for word in asked if word not in self.common}
        found = len(rare & (name | set(told)))
        kind = 0 if not rare else 1 if found == len(rare) else 2 if found else 3
        return [*features, (BUCKETS + 1 + kind, 1.0)]


def _common_words(articles: Sequence[Article]) -> frozenset[str]:
    """Words of many articles' questions or texts, which name nobody."""
    counts: Counter[str] = Counter()
    for article in articles:
        counts.update({word for text in (article.text, *(q for q, _ in article.questions)) for word in words(text)})
    return frozenset(word for word, count in counts.items() if count > max(1.0, _COMMON * len(articles)))


def _training_pairs(articles: Sequence[Article], rng: random.Random) -> tuple[list[tuple[str, str, str]], list[bool]]:
    """(title, sentence, question) rows and whether the sentence answers."""
    rows: list[tuple[str, str, str]] = []
    right: list[bool] = []
    telling: list[tuple[Article, str, str]] = []
    for article in articles:
        sentences = [article.text[start:end] for start, end in split_sentences(article.text)]
        for question, answer in article.questions:
            holds = [mentions(answer, sentence) for sentence in sentences]
            if sum(holds) == 1:
                rows += [(article.title, sentence, question) for sentence in sentences]
                right += holds
                telling.append((article, sentences[holds.index(True)], question))
    by_words: dict[frozenset[str], list[int]] = {}  # questions that read alike, whoever they are about
    alike = [frozenset(words(question)) - frozenset(words(article.title)) for article, _, question in telling]
    for i, key in enumerate(alike):
        by_words.setdefault(key, []).append(i)
    for i, (article, _, question) in enumerate(telling):
        other, sentence, _ = telling[rng.choice(by_words[alike[i]] if rng.random() < 0.8 else range(len(telling)))]
        if other is not article:
            rows.append((other.title, sentence, question))
            right.append(False)
    return rows, right
