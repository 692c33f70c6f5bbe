"""Which name a pronoun of an English follow-up question stands for: one of the question before it, or its answer.

"he" and "she" stand for the answer of a question for a person, "there" for that of one for a place; otherwise a pronoun stands for the
one name that the question was about, if neither the answer nor anything else in it can be meant. Where it may be either there is none;
the subject of a question ("Which continent does Norway belong to?") goes before its answer, as in centering theory (Grosz, Joshi &
Weinstein 1995, J95-2003).

Known gap: nothing is known of what names stand for, so that "it" after a question with a name whose answer is a name too is left alone.
"""

import re
from typing import Literal

from rag.markers import take_markers
from rag.packing import count_words
from rag.prompt import is_unknown
from rag.question_names import PREPOSITIONS, find_names, is_capital, is_name

LONGEST_NAME = 8  # words that an answer may have to be taken for a name

Kind = Literal["person", "thing", "many", "place"]
FAMILIES: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("person", frozenset("he him his".split())),
    ("person", frozenset("she her hers".split())),
    ("thing", frozenset("it its".split())),
    ("many", frozenset("they them their theirs".split())),
    ("place", frozenset({"there"})),
)
ASKING = re.compile(r"\b(who|whom|whose|where|when|why|how|what|which)\b", re.I)
ASKS_PROPERTY = re.compile(r"\s*(?:what|who|which)(?:\s+[a-z]+)?\s+(?:is|was|are|were)\s+(?:the\b|\S+['’]s\b)", re.I)
_ACTS = re.compile(r"\b(?:do|does|did)\s+(?:the\s+)?[A-Z]")  # a name is the subject


def antecedent(kind: Kind, before: str, answer: str) -> str | None:
    """The name that a pronoun stands for: the question's, or its answer; None where it may be either, or neither."""
    told = bare_answer(answer)
    named = bool(told) and is_name(told) and not told[0].isdigit()
    asked = _asked_for(before)
    if asked == "person" and kind in ("person", "many"):
        return told if named and kind == "person" else None
    if asked == "place" and kind == "place":
        return told if named else None
    # An answer that may be a name of the same kind could be meant as well.
    value = is_unknown(answer) or not any(
        is_capital(word) and not word[0].isdigit() for word in take_markers(answer)[0].split()
    )
    if asked == "thing" and not value and not _ACTS.search(before):
        return None
    return subject_of(before)


def _asked_for(question: str) -> Literal["person", "place", "value", "thing"]:
    """What a question asks for: by its asking word, and the preposition in front of that."""
    asking = ASKING.search(question)
    if asking is None:
        return "thing"
    word = asking[1].lower()
    if word in ("who", "whom", "whose"):
        return "person"
    if word == "where":
        return "place"
    if word in ("when", "why", "how"):
        return "value"
    return (
        "place"
        if question[: asking.start()].split()[-1:] and question[: asking.start()].split()[-1].lower() in PREPOSITIONS
        else "thing"
    )


def subject_of(question: str) -> str | None:
    """The one name that a question is about; None where it has several, or asks about something of it."""
    names = [name for name in find_names(question) if not name.numeric(question)]
    if len(names) != 1:
        return None
    [name] = names
    if (name.owns or name.preposition in ("of", "in")) and not ASKS_PROPERTY.match(question):
        return None
    return question[name.article : name.end]


def bare_answer(answer: str) -> str:
    """An answer that is short enough to be a name, without markers and a full stop; else empty."""
    if is_unknown(answer):
        return ""
    text = take_markers(answer)[0].strip().rstrip(".。")
    return text if count_words(text) <= LONGEST_NAME else ""
