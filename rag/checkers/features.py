"""What tells a supported claim from an unsupported one, as figures: the features of `rag.checkers.trained.ClaimChecker`.

The question decides: among spans of one kind in one passage the answer is the one that stands among the question's words, in the
sentence that is about it, and is of the kind that the question asks for. Length is no feature, so that nothing is learnt from
wrong answers being longer, as they are in collections written by a language model.

For a statement without a question its claim stands for the question: then the features say how close the best sentence is to
the claim, and whether the two differ in numbers, negation or direction.

Shape letters: N statements, F features, D width of the encoder.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

import numpy as np

from genir.embedding import TextEncoder
from genir.words import ENGLISH_STOPWORDS
from rag.attribution import lexical_support
from rag.checkers.embedding import embed_once
from rag.checkers.spans import Kind, Place, Standing, kind_of, stand, words_in
from rag.measures.answer_type import AMOUNTS, COUNTS
from rag.sentences import split_sentences
from rag.verification import Statement, telling_words

_ASKS = ("who", "when", "where", "number", "year", "what", "other")
_EVIDENCE = ("held", "all_held", "contained", "whole", "nowhere", "new_numbers", "echo")
_CONTEXT = ("near", "nearest", "in_sentence", "sentence_gap", "cosine", "cosine_gap")
_SENTENCE = ("negated", "opposed")
NAMES = (
    *_EVIDENCE,
    *_CONTEXT,
    *_SENTENCE,
    *(f"{asked}:{kind}" for asked, kind in product(_ASKS, get_args(Kind))),
)
_FADE = 6.0  # words after which a word of the question says a third of what it says beside the claim
_NEGATIONS = frozenset(
    "no not never none neither nor without cannot fail fails failed lack lacks lacking absence".split()
)
_OPPOSITES = tuple(
    pair.split("/")
    for pair in """increas/decreas increas/reduc increas/lower rais/lower rais/reduc enhanc/reduc enhanc/inhibit promot/inhibit
    promot/suppress activ/inhibit activ/suppress induc/inhibit induc/suppress high/low higher/lower more/less more/fewer upregul/downregul
    up/down gain/loss posit/negat improv/worsen better/wors benefit/harm protect/harm sensit/resist long/short earli/late
    accept/reject win/lose before/after first/last north/south east/west all/none""".split()
)


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence of the evidence: its characters, its stems, and its likeness to the question (or claim)."""

    start: int
    end: int
    stems: frozenset[str]
    cosine: float


class ClaimFeatures:
    """`rows(statements)`: the features of statements by an encoder; where each stands is told beside them."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self._vectors: dict[str, np.ndarray] = {}  # kept for the next statements
        self._stemmer: Any = None

    def rows(self, statements: Sequence[Statement]) -> tuple[np.ndarray, list[Standing]]:
        """Shape (N, F) float64 in the order of NAMES, and where every claim stands in its evidence."""
        texts = [
            text
            for one in statements
            for text in (_about(one), *(one.evidence[a:b] for a, b in split_sentences(one.evidence)))
        ]
        vectors = embed_once(texts, self.encoder, self._vectors)
        standings = [stand(one) for one in statements]
        table = np.zeros((len(statements), len(NAMES)))
        for i, (one, standing) in enumerate(zip(statements, standings, strict=True)):
            values = self._row(one, standing, vectors)
            table[i] = [values.get(name, 0.0) for name in NAMES]
        return table, standings

    def _row(self, one: Statement, standing: Standing, vectors: Mapping[str, np.ndarray]) -> dict[str, float]:
        asked = {stem for stem in self._stems(_about(one)) if stem}
        sentences = self._sentences(one, vectors)
        values = _evidence_values(one, standing)
        if sentences:
            values |= self._context(one, standing, sentences, asked)
            values |= self._sentence_values(one, sentences)
        if one.question:
            values[f"{asks_for(one.question)}:{kind_of(one.claim)}"] = 1.0
        return values

    def _sentences(self, one: Statement, vectors: Mapping[str, np.ndarray]) -> list[_Sentence]:
        about = vectors[_about(one)]
        found = []
        for start, end in split_sentences(one.evidence):
            text = one.evidence[start:end]
            found.append(_Sentence(start, end, frozenset(self._stems(text)), float(about @ vectors[text])))
        return found

    def _context(
        self, one: Statement, standing: Standing, sentences: Sequence[_Sentence], asked: set[str]
    ) -> dict[str, float]:
        """How near the claim's best place is to the question's words, rare ones in this evidence counting more."""
        weights = {stem: 1.0 / (1 + sum(stem in sentence.stems for sentence in sentences)) for stem in sorted(asked)}
        total = sum(weights.values()) or 1.0
        shares = [sum(weights[s] for s in weights if s in sentence.stems) / total for sentence in sentences]
        best_cosine = max(sentence.cosine for sentence in sentences)
        if not standing.places and one.question:  # an answer that stands nowhere stands in no sentence
            return {"sentence_gap": -max(shares), "cosine_gap": -best_cosine}
        if not standing.places:
            return {"in_sentence": max(shares), "cosine": best_cosine}
        told = words_in(one.evidence)
        stems = self._stemmed([word.text for word in told])
        where = {stem: [i for i, other in enumerate(stems) if other == stem] for stem in weights}
        rows = []
        for place in standing.places:
            first, last = _word_range(told, place)
            away = {stem: min(max(first - i, i - last, 0) for i in places) for stem, places in where.items() if places}
            near = sum(weights[stem] * math.exp(-distance / _FADE) for stem, distance in away.items()) / total
            k = max((i for i, s in enumerate(sentences) if s.start <= place[0]), default=0)
            rows.append(
                {
                    "near": near,
                    "nearest": math.exp(-min(away.values(), default=100) / _FADE),
                    "in_sentence": shares[k],
                    "sentence_gap": shares[k] - max(shares),
                    "cosine": sentences[k].cosine,
                    "cosine_gap": sentences[k].cosine - best_cosine,
                }
            )
        return max(rows, key=lambda row: row["near"] + row["in_sentence"] + row["cosine"])

    def _sentence_values(self, one: Statement, sentences: Sequence[_Sentence]) -> dict[str, float]:
        """Claim against the sentence that shares most with it: negation in one of them only, words of opposite direction."""
        said = set(self._stems(one.claim))
        best = max(sentences, key=lambda sentence: len(said & sentence.stems))
        told = {word.text for word in words_in(one.evidence[best.start : best.end])}
        spoken = {word.text for word in words_in(one.claim)}
        opposed = any(
            (first in said and second in best.stems and first not in best.stems)
            or (second in said and first in best.stems and second not in best.stems)
            for first, second in _OPPOSITES
        )
        return {
            "negated": float(bool(told & _NEGATIONS) != bool(spoken & _NEGATIONS)),
            "opposed": float(opposed),
        }

    def _stems(self, text: str) -> list[str]:
        content = [word.text for word in words_in(text) if word.text not in ENGLISH_STOPWORDS]
        return self._stemmed(content)

    def _stemmed(self, words: Sequence[str]) -> list[str]:
        if self._stemmer is None:
            import Stemmer

            self._stemmer = Stemmer.Stemmer("english")
        stems: list[str] = self._stemmer.stemWords(list(words))
        return stems


def asks_for(question: str) -> str:
    """What kind of answer an English question asks for, by its question word; "other" without one."""
    said = [word.text for word in words_in(question)]
    text = f" {' '.join(said)} "
    if any(f" {phrase} " in text for phrase in (*COUNTS, *AMOUNTS)):
        return "number"
    if " year " in text:
        return "year"
    for word in said:
        if word in ("who", "whom", "whose"):
            return "who"
        if word in ("when", "where"):
            return word
        if word in ("what", "which"):
            return "what"
    return "other"


def _about(one: Statement) -> str:
    return one.question or one.claim


def _evidence_values(one: Statement, standing: Standing) -> dict[str, float]:
    held = {word.text for word in words_in(one.evidence)}
    said = {word.text for word in words_in(one.claim)}
    asked = {word.text for word in words_in(one.question)}
    telling = set(telling_words(one.claim, one.question))
    return {
        "held": standing.held,
        "all_held": float(standing.held == 1.0),
        "contained": lexical_support(one.claim, one.evidence),
        "whole": float(standing.whole),
        "nowhere": float(not standing.places),
        "new_numbers": float(any(any(c.isdigit() for c in word) for word in said - held)),
        "echo": float(bool(telling & asked)),
    }


def _word_range(told: Sequence[Any], place: Place) -> tuple[int, int]:
    """The numbers of the first and last word of a place."""
    inside = [i for i, word in enumerate(told) if word.start < place[1] and word.end > place[0]]
    return inside[0], inside[-1]
