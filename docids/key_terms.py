"""Key-term identifiers: a document is named by the few terms that tell it from the others, over a vocabulary of terms.

The line of NOVO (Wang et al. 2023) and TSGen (Zhang et al. 2024), whose sets are learned and written in any order.
Here the terms are chosen by tf-idf (the weight is a function of its own, so that learned weights can stand in its
place) and written in one canonical order.

Invariants. A document has `terms` key terms; no two documents have one *set* of terms, whatever its order, unless
all their terms are the same: those are told apart by a number behind the terms, a token of its own. Documents whose
sets fall together take further terms: each the most important one that not all of them have, until they differ. A
document of fewer terms has all it has; one without any is a number alone. Stopwords are no key terms. Single
characters, and terms that stand in fewer than `min_documents` documents, come behind all others: the first because in
Chinese the pairs of `genir.words` hold them already, the second because a term of one document says no more than an
atomic token.

Known gaps: no stemming, and English stopwords only; one identifier may be a prefix of another.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from docids.table import DocIDTable, doc_ids_of
from genir.errors import ConfigError, unknown_name
from genir.records import DocIDTokens, Document
from genir.words import ENGLISH_STOPWORDS, terms

Order = Literal["importance", "frequency"]
_ORDERS = ("importance", "frequency")


def tf_idf(counts: Mapping[str, int], frequency: Mapping[str, int], documents: int) -> dict[str, float]:
    """Weight (1 + ln tf) * ln(1 + documents / df) of every term of one document."""
    return {term: (1 + math.log(count)) * math.log(1 + documents / frequency[term]) for term, count in counts.items()}


def choose_sets(ranked: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """For every document's terms, most important first, the `size` first ones, and what it takes to tell the sets
    apart.

    Documents with equal sets each take their most important term that not all of them have, again and again; so sets
    stay equal only where documents have the same terms altogether. The order within a set is that of `ranked`, with
    the further terms behind.
    """
    chosen = [list(words[:size]) for words in ranked]
    changed = True
    while changed:
        changed = False
        groups: dict[frozenset[str], list[int]] = defaultdict(list)
        for row, words in enumerate(chosen):
            groups[frozenset(words)].append(row)
        for members in groups.values():
            if len(members) == 1:
                continue
            common = set.intersection(*(set(ranked[row]) for row in members))
            for row in members:
                further = next((word for word in ranked[row] if word not in common), None)
                if further is not None:
                    chosen[row].append(further)
                    changed = True
    return chosen


@dataclass
class KeyTermScheme:
    """`terms` key terms a document, in order of `importance`, or of document `frequency`, the commonest first.

    Commonest first lets documents share prefixes; most important first lets the first token say most.
    """

    terms: int = 8
    order: Order = "frequency"
    min_documents: int = 2
    name: str = field(default="key-terms", init=False)

    def __post_init__(self) -> None:
        if self.order not in _ORDERS:
            raise unknown_name("order of key terms", self.order, _ORDERS)
        if self.terms < 1 or self.min_documents < 1:
            raise ConfigError(
                f"key-terms identifiers need terms and min_documents of 1 or more, got {self.terms} and "
                f"{self.min_documents}"
            )

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Identifiers over a vocabulary of terms, the commonest first, and of numbers "#1", "#2", ... behind them.

        Raises DataError for a bad corpus.
        """
        doc_ids = doc_ids_of(corpus)
        counts = [Counter(terms(document.title_and_text)) for document in corpus]
        frequency = Counter(term for count in counts for term in count)
        chosen = choose_sets([self._ranked(count, frequency, len(corpus)) for count in counts], self.terms)
        if self.order == "frequency":
            chosen = [sorted(words, key=lambda word: (-frequency[word], word)) for words in chosen]
        used = sorted({word for words in chosen for word in words}, key=lambda word: (-frequency[word], word))
        numbers = _numbers(chosen)
        vocabulary = (*used, *(f"#{number}" for number in range(1, max(numbers) + 1)))
        return DocIDTable(
            self.name,
            dict(zip(doc_ids, _tokens(chosen, numbers, used), strict=True)),
            vocab_size=len(vocabulary),
            settings={"terms": self.terms, "order": self.order, "min_documents": self.min_documents},
            facts={
                "vocabulary": len(used),
                "took_further_terms": sum(len(words) > self.terms for words in chosen),
                "fewer_terms": sum(len(words) < self.terms for words in chosen),
                "numbered": sum(number > 0 for number in numbers),
            },
            vocabulary=vocabulary,
        )

    def _ranked(self, counts: Mapping[str, int], frequency: Mapping[str, int], documents: int) -> list[str]:
        """One document's terms, most important first; ties in order of appearance."""
        weights = tf_idf(counts, frequency, documents)
        wanted = [term for term in counts if term not in ENGLISH_STOPWORDS]
        return sorted(wanted, key=lambda term: (len(term) == 1, frequency[term] < self.min_documents, -weights[term]))


def _numbers(chosen: Sequence[Sequence[str]]) -> list[int]:
    """For every document the number behind its terms: 0 for none, 2, 3, ... for the later ones of one set.

    Documents without any term are numbered from 1.
    """
    seen: Counter[frozenset[str]] = Counter()
    numbers = []
    for words in chosen:
        seen[frozenset(words)] += 1
        number = seen[frozenset(words)]
        numbers.append(0 if words and number == 1 else number)
    return numbers


def _tokens(chosen: Sequence[Sequence[str]], numbers: Sequence[int], used: Sequence[str]) -> list[DocIDTokens]:
    places = {word: place for place, word in enumerate(used)}
    return [
        tuple(places[word] for word in words) + ((len(used) + number - 1,) if number else ())
        for words, number in zip(chosen, numbers, strict=True)
    ]
