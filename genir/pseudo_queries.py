"""Queries that a document could answer, made from the document alone, without any model.

Training on pseudo-queries of every document is the largest single gain published for generative retrieval. These are
cruder than a doc2query model's, but need nothing but the corpus:

    cloze      a sentence with a name, a number or a key term taken out, as a rough question (genir.cloze)
    sentence   a sentence, or a span of it as long as a question: what the document says
    terms      the key terms of the document, or of a sentence in its order: keywords
    title      the title, alone or with a key phrase: how people search

Key terms are those of the highest tf-idf within the corpus.

Invariants: the same corpus and configuration give the same queries, in the order of the corpus; the queries of a
document depend on the others only through their document frequencies. A document with a letter or digit in its title or
text gets at least one query and at most `per_document`, no two alike; any other document (empty, or all emoji) gets
none.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from tqdm import tqdm

from genir.cloze import Sentence, clozes
from genir.errors import ConfigError, unknown_name
from genir.records import Document
from genir.words import ENGLISH_STOPWORDS, sentences, terms

Kind = Literal["cloze", "sentence", "terms", "title"]
QueryKind = Literal["cloze", "sentence", "terms", "title", "generated"]

_LONGEST = {True: 32, False: 64}  # units (words; characters) of a query; longer sentences are cut to a span
_KEY_TERMS = (3, 6)
_FUNCTION = """about after all also among any because been before between both can could did do does during each had has
    have he her him his how i its may more most much my new one only other our over she should so some than them through
    two
    under until up us we were what when where which while who whom whose why would you your however many s t"""
_FUNCTION_WORDS = ENGLISH_STOPWORDS | frozenset(_FUNCTION.split())


@dataclass(frozen=True, slots=True)
class PseudoQueryConfig:
    """How many queries a document gets at most, of which kinds: in turn, as far as the document has material."""

    per_document: int = 8
    kinds: tuple[Kind, ...] = ("cloze", "sentence", "terms", "title")
    seed: int = 0

    def __post_init__(self) -> None:
        if self.per_document < 1:
            raise ConfigError(f"per_document is {self.per_document}: expected at least 1 pseudo-query a document")
        if not self.kinds:
            raise ConfigError("kinds is empty: name at least one of " + ", ".join(get_args(Kind)))
        for kind in self.kinds:
            if kind not in get_args(Kind):
                raise unknown_name("kind of pseudo-query", kind, get_args(Kind))


@dataclass(frozen=True, slots=True)
class PseudoQuery:
    """A text that should find the document."""

    doc_id: str
    text: str
    kind: QueryKind


def make_pseudo_queries(corpus: Sequence[Document], config: PseudoQueryConfig | None = None) -> list[PseudoQuery]:
    """Pseudo-queries of every document, those of one document together, its kinds in turn."""
    config = config or PseudoQueryConfig()
    frequency: Counter[str] = Counter()
    for document in tqdm(corpus, desc="document frequencies", delay=2, leave=False):
        frequency.update(set(terms(document.title_and_text)))

    @lru_cache(maxsize=1 << 18)
    def terms_of(unit: str) -> tuple[tuple[str, float], ...]:
        """The terms of a word or of a pair of characters that can be key terms, with their idf."""
        found = terms(unit)
        pairs = [term for term in found if len(term) > 1]
        kept = {term for term in pairs or found if term not in _FUNCTION_WORDS and frequency[term]}
        return tuple((term, math.log((len(corpus) + 1) / frequency[term])) for term in sorted(kept))

    made: list[PseudoQuery] = []
    for document in tqdm(corpus, desc="pseudo-queries", delay=2, leave=False):
        made += _of_document(document, config, terms_of)
    return made


_TermsOf = Callable[[str], tuple[tuple[str, float], ...]]


def _of_document(document: Document, config: PseudoQueryConfig, terms_of: _TermsOf) -> list[PseudoQuery]:
    counts = Counter(terms(document.title_and_text))
    if not counts:
        return []

    def weigh(unit: str) -> float:
        return max(((1 + math.log(counts[term] or 1)) * idf for term, idf in terms_of(unit)), default=0.0)

    title = " ".join(document.title.split())
    cut = [Sentence.read(sentence, weigh) for sentence in sentences(document.text)]
    read = [sentence for sentence in cut if any(terms(sentence.text(0, len(sentence.units))))]
    makers: dict[Kind, Iterator[str]] = {}
    for kind in config.kinds:
        rng = random.Random(f"{config.seed}\0{kind}\0{document.doc_id}")
        order = rng.sample(read, len(read))
        makers[kind] = _MAKERS[kind](title, order, rng)

    made: dict[str, PseudoQuery] = {}
    while makers and len(made) < config.per_document:
        for kind in list(makers):
            text = next(makers[kind], None)
            if text is None:
                del makers[kind]
            elif len(made) < config.per_document:
                _add(made, PseudoQuery(document.doc_id, text, kind))
    if not made:  # none of the kinds finds material, in a document of one word or without title, say
        whole = read[0].text(0, _LONGEST[read[0].spaced]) if read else title
        _add(made, PseudoQuery(document.doc_id, whole, "sentence" if read else "title"))
    return list(made.values())


def _add(made: dict[str, PseudoQuery], query: PseudoQuery) -> None:
    key = " ".join(terms(query.text))
    if key:
        made.setdefault(key, query)


def _clozes(title: str, read: Sequence[Sentence], rng: random.Random) -> Iterator[str]:
    """One question from every sentence, then a second one from each, and so on."""
    pending = [clozes(sentence, rng) for sentence in read]
    while pending:
        for questions in list(pending):
            question = next(questions, None)
            if question is None:
                pending.remove(questions)
            else:
                yield question


def _sentences(title: str, read: Sequence[Sentence], rng: random.Random) -> Iterator[str]:
    """A span of one sentence, the whole of the next, and so on; then the other way round."""
    for turn in (0, 1):
        for place, sentence in enumerate(read):
            count, longest = len(sentence.units), _LONGEST[sentence.spaced]
            if (place + turn) % 2 and count <= longest:
                yield sentence.text(0, count)
            else:
                best = sentence.best
                yield sentence.text(*sentence.window(best, min(count, best + sentence.key_units), rng))


def _terms(title: str, read: Sequence[Sentence], rng: random.Random) -> Iterator[str]:
    """Keywords of the whole text first, then of each sentence."""
    if len(read) > 1 and len({sentence.spaced for sentence in read}) == 1:
        units = tuple(unit for sentence in read for unit in sentence.units)
        weights = tuple(weight for sentence in read for weight in sentence.weights)
        yield _keywords(Sentence(units, weights, read[0].spaced), rng)
    for sentence in read:
        yield _keywords(sentence, rng)


def _keywords(sentence: Sentence, rng: random.Random) -> str:
    weights, size = sentence.weights, sentence.key_units
    wanted = rng.randint(*_KEY_TERMS)
    chosen: dict[int, str] = {}
    known: set[str] = set()
    for i in sorted(range(len(weights)), key=lambda i: -weights[i]):
        if len(chosen) == wanted or not weights[i]:
            break
        text = sentence.text(i, i + size)
        if text.casefold() not in known and all(abs(i - other) >= size for other in chosen):
            chosen[i] = text
            known.add(text.casefold())
    return " ".join(text for _, text in sorted(chosen.items()))


def _titles(title: str, read: Sequence[Sentence], rng: random.Random) -> Iterator[str]:
    """The title with the key phrase of a sentence, alone, then with the other sentences' phrases."""
    if not terms(title):
        return
    known = set(terms(title))
    phrases = [phrase for sentence in read if not known.issuperset(terms(phrase := _key_phrase(sentence)))]
    with_phrases = (f"{title} {phrase}" for phrase in phrases)
    yield next(with_phrases, title)
    yield title
    yield from with_phrases


def _key_phrase(sentence: Sentence) -> str:
    """The key term with the weighty words beside it, up to punctuation: "Levi's Stadium" rather than "Stadium"."""
    start = sentence.best
    end = start + sentence.key_units
    weighty = [weight > 0 for weight in sentence.weights]
    joined = [unit[-1].isalnum() for unit in sentence.units]  # no punctuation behind it
    if sentence.spaced:
        while end < len(weighty) and end - start < 3 and weighty[end] and joined[end - 1]:
            end += 1
        while start > 0 and end - start < 3 and weighty[start - 1] and joined[start - 1]:
            start -= 1
    return sentence.text(start, end)


_MAKERS: dict[Kind, Callable[[str, Sequence[Sentence], random.Random], Iterator[str]]] = {
    "cloze": _clozes,
    "sentence": _sentences,
    "terms": _terms,
    "title": _titles,
}
