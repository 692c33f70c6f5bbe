"""Cloze questions with their answers, from the passages of any corpus and without a model: practice in finding what a gap asks for.

A name, a number, or else the rarest word of a sentence is taken out, and a question word is put in its place: "Oslo is the capital of
Norway." -> "Oslo is the capital of what?", answered by "Norway" (cloze translation in its simplest form, Lewis et al. 2019,
arXiv:1906.04980, section 2.2). Names and numbers are found as `rag.mitigations.questions` finds them.

Invariants: the answer stands in the passage literally; what is made depends on the seed alone.

Known gap: the question repeats the sentence, which real ones seldom do, so that these questions are easy; a part of their words is left out
to make them harder.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence

from genir.records import Document, Query
from genir.words import ENGLISH_STOPWORDS
from rag.mitigations.questions import cloze_checks
from rag.sentences import split_sentences, words

_WORD = re.compile(r"[^\W\d_]{5,}")
_LENGTH = (6, 40)  # words of a sentence that is asked about
_DROPPED = 0.25  # share of a question's words that is left out, at most


def cloze_questions(documents: Sequence[Document], most: int, seed: int) -> list[tuple[Query, Document]]:
    """At most `most` questions with their passages, spread over the documents: one of each before any gives a second."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(set(words(document.text)))
    order = rng.sample(range(len(documents)), len(documents))
    waiting = {index: _sentences(documents[index], rng) for index in order[: max(1, most)]}
    made: list[tuple[Query, Document]] = []
    while waiting and len(made) < most:
        for index in list(waiting):
            asked = next((one for one in iter(waiting[index].pop, None) if one), None) if waiting[index] else None
            question = _question(documents[index].text[slice(*asked)], counts, rng) if asked else None
            if not waiting[index]:
                del waiting[index]
            if question is not None and len(made) < most:
                text, answer = question
                made.append((Query(f"cloze-{len(made)}", text, (answer,)), documents[index]))
    return made


def _sentences(document: Document, rng: random.Random) -> list[tuple[int, int]]:
    """The places of sentences that are neither too short nor too long, in random order."""
    least, longest = _LENGTH
    spans = [
        span for span in split_sentences(document.text) if least <= len(words(document.text[slice(*span)])) <= longest
    ]
    rng.shuffle(spans)
    return spans


def _question(sentence: str, counts: Counter[str], rng: random.Random) -> tuple[str, str] | None:
    """(question, answer) of a sentence; None where nothing of it can be asked for."""
    checks = cloze_checks(sentence if sentence.endswith((".", "!", "?")) else f"{sentence}.", "", most=8)
    found = [(check.question, check.expected) for check in checks if check.expected in sentence]
    rare = min(_WORD.findall(sentence), key=lambda word: counts[word.lower()], default=None)
    if rare is not None and (not found or rng.random() < 0.2):
        at = sentence.index(rare)
        found = [(f"{sentence[:at]}what{sentence[at + len(rare) :].rstrip('.!? ')}?", rare)]
    if not found:
        return None
    question, answer = rng.choice(found)
    return _shortened(question, rng), answer


def _shortened(question: str, rng: random.Random) -> str:
    """The question without some of its words; question words stay."""
    asking = {"what", "when", "who", "where", "which", "how", "many"}
    share = rng.random() * _DROPPED
    kept = [
        word
        for word in question.split()
        if word.lower().strip("?") in asking or word.lower() in ENGLISH_STOPWORDS or rng.random() >= share
    ]
    text = " ".join(kept)
    return text if text.endswith("?") else f"{text}?"
