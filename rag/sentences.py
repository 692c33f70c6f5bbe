"""Sentences as character offsets, and words as scoring counts them: what reading, attribution and scoring share.

Both rest on `genir.words`, so that retrieval and reading mean the same by a word and by a sentence. A citation needs
the place of a sentence, and F1 needs every Chinese or Japanese character once: that is all this module adds.
"""

import re

from genir.words import UNSPACED, sentences, terms

_PAIR = re.compile(f"[{UNSPACED}]{{2}}")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Offsets (start, end) of the sentences of `text`, in order, without the white space around them."""
    spans = []
    end = 0
    for sentence in sentences(text):
        start = text.index(sentence, end)
        end = start + len(sentence)
        spans.append((start, end))
    return spans


def words(text: str) -> list[str]:
    """Lower-cased words after NFKC, in order; every Han or Kana character is a word, the pairs used for indexing are not."""
    return [term for term in terms(text) if not _PAIR.match(term)]
