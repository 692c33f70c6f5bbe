"""Where an answer comes from: the sentence of the passages that holds it, as exact characters, with a score.

The score is lexical support: the share of the answer's words that stand in the cited sentence (for readers that copy: or
in its document's title). It says that the words are there, not that the sentence entails the answer; it is not
faithfulness, and is never called so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from genir.records import Citation, Document
from rag.sentences import split_sentences, words
from rag.verification import content_words, telling_words


@dataclass(frozen=True, slots=True)
class Attribution:
    """The best sentence for an answer: its citation (None where no telling word of it is found) and the lexical support in 0..1."""

    citation: Citation | None
    support: float
    passage: int | None  # index among the passages


NO_ATTRIBUTION = Attribution(None, 0.0, None)


def contains(text_words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether `phrase` stands in `text_words` as a run; False for an empty phrase."""
    if not phrase:
        return False
    wanted, n = list(phrase), len(phrase)
    starts = (i for i in range(len(text_words) - n + 1) if text_words[i] == wanted[0])
    return any(list(text_words[i : i + n]) == wanted for i in starts)


def lexical_support(answer: str, source: str) -> float:
    """The share of the answer's words that stand in `source`, 0..1; 0 for an answer without words."""
    said, held = words(answer), set(words(source))
    return sum(word in held for word in said) / len(said) if said else 0.0


def attribute(
    answer: str, question: str, passages: Sequence[Document], among: Iterable[int] | None = None
) -> Attribution:
    """The sentence that supports `answer` best, of all passages or of those numbered `among`.

    Only sentences that hold a telling word of the answer are compared (`rag.verification.telling_words`): one that shares nothing but
    stop words, or the question's own words, with it says nothing of it. An answer of stop words alone comes from nowhere.
    Sentences compare by: the share of the answer's words that they hold, whether those stand as one run, the share of the question's
    words that sentence and title hold, then the passages' order.
    """
    said, asked = words(answer), set(words(question))
    if not content_words(answer):
        return NO_ATTRIBUTION
    telling = set(telling_words(answer, question))
    best, best_key = NO_ATTRIBUTION, (0.0, False, -1.0)
    for index in range(len(passages)) if among is None else among:
        passage = passages[index]
        title = set(words(passage.title))
        for start, end in split_sentences(passage.text):
            sentence = words(passage.text[start:end])
            held = set(sentence)
            if not telling & held:
                continue
            support = sum(word in held for word in said) / len(said)
            overlap = len(asked & (held | title)) / len(asked) if asked else 0.0
            key = (support, contains(sentence, said), overlap)
            if key > best_key:
                best_key = key
                best = Attribution(quote(passage, start, end, index), support, index)
    return best


def quote(passage: Document, start: int, end: int, rank: int, written: bool = False) -> Citation:
    """The citation of characters start..end of a passage, the one numbered `rank` from 0; see `Citation.written`."""
    return Citation(passage.doc_id, start, end, passage.text[start:end], passage=rank, written=written)
