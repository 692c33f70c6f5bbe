"""Wrong passages for a question: what an unanswerable question is made of, and what competes with the right passage.

They are drawn among the passages of the right one's article that share most rare words with the question, as those that a retriever
confuses with it do. A passage that holds an accepted answer is never taken. Invariant: what is drawn depends on the random state alone.

Known gap: a passage that answers in other words is taken for wrong.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence

from genir.records import Document, Query
from rag.scoring import normalise
from rag.sentences import words
from rag.span.data import heading

_ELSEWHERE = 50  # passages of other articles that are looked at where the article has no other
_KEPT = 512  # passages whose words are kept


class WrongPassages:
    """Passages of a corpus by article, to draw wrong ones for a question."""

    def __init__(self, documents: Sequence[Document], hardest: int = 8) -> None:
        self.documents, self.hardest = documents, hardest
        self.articles: dict[str, list[int]] = {}
        counts: Counter[str] = Counter()
        for index, document in enumerate(documents):
            self.articles.setdefault(heading(document.title), []).append(index)
            counts.update(set(words(document.text)))
        self.rarity = {word: math.log(1 + len(documents) / count) for word, count in counts.items()}
        self._read: dict[int, tuple[frozenset[str], str]] = {}

    def draw(self, query: Query, right: Document, rng: random.Random, count: int = 1) -> list[Document]:
        """At most `count` wrong passages of the article of `right`, or, where it has no other, of the corpus."""
        kin = [i for i in self.articles[heading(right.title)] if self.documents[i].doc_id != right.doc_id]
        if not kin:
            drawn = rng.sample(range(len(self.documents)), min(_ELSEWHERE, len(self.documents)))
            kin = [i for i in drawn if self.documents[i].doc_id != right.doc_id]
        asked = sorted(set(words(query.text)) & self.rarity.keys())
        shared = {i: sum(self.rarity[word] for word in asked if word in self._words(i)[0]) for i in kin}
        accepted = [_run(answer) for answer in query.answers]
        fit: list[Document] = []
        for i in sorted(kin, key=lambda i: (-shared[i], i)):
            if len(fit) == max(self.hardest, count):
                break
            if not any(answer in self._words(i)[1] for answer in accepted):
                fit.append(self.documents[i])
        return rng.sample(fit, min(count, len(fit)))

    def _words(self, index: int) -> tuple[frozenset[str], str]:
        """The words of a passage as a set, and in order; kept while questions of its article come."""
        if index not in self._read:
            if len(self._read) >= _KEPT:
                self._read.clear()
            text = self.documents[index].text
            self._read[index] = frozenset(words(text)), _run(text)
        return self._read[index]


def _run(text: str) -> str:
    """The words of the normal form with a space around each, so that one text's run can be looked for in another's."""
    return f" {' '.join(words(normalise(text)))} "
