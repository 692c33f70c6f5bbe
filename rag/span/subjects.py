"""Which passages are about what a question names: those whose title stands in the question, whole ("France": "the capital of France").

Passages about other things of the same kind often answer the same question about themselves, in the same words, and a span reader that
sees one passage at a time takes them for as good. Where some passage is about what is asked, the others' odds are divided by a
number (`SpanSettings.off_subject`).

Known gap: a title of words that stand in the question by chance ("Time") counts; names in other spellings ("Holland") do not.
"""

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_NOISE = re.compile(r"\([^)]*\)|_|['’]s\b")  # what tells titles of one name apart, underscores, possession


def off_subject(question: str, titles: Sequence[str]) -> list[bool]:
    """For each title whether it is not what the question names, while another is; all False where none is."""
    asked = _words(question)
    named = [bool(title) and title in asked for title in map(_words, titles)]
    return [any(named) and not one for one in named]


def _words(text: str) -> str:
    """Words in lower case between single spaces, one at either end; nothing where there is no word."""
    words = _WORD.findall(_NOISE.sub(" ", text.casefold()))
    return f" {' '.join(words)} " if words else ""
