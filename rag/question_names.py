"""The names in an English question, with the grammatical place of each: what a follow-up may put another name in the place of.

A name is a run of capitalised words and numbers, of small words between them too ("the Isle of Man"). The first word of a question may have
its capital for that alone: it counts where it owns something, or "is" or another capital follows.

Known gap: a title of small words behind its first ("Gone with the wind") ends there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.follow_ups import IDLE

DETERMINERS = frozenset("the a an".split())
PREPOSITIONS = frozenset(
    "of in on at for from to by with into across along near under over between during through after before".split()
)
INNER = frozenset(
    "of the and de da del di du la le von van der den y & a an in on for to at with from".split()
)  # of a title
_LINKS = INNER - frozenset("a an in on for to at with from".split())  # between the capitals of one name in a question
_BE = frozenset("is was are were".split())
_MARKS = "\"'“”‘’()[].,;:?!"
_GOVERNED = re.compile(rf"\b({'|'.join(sorted(PREPOSITIONS))})\s+(?:(?:the|a|an)\s+)?(?:[\w-]+\s+)?\Z", re.I)


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a question: characters start..end, with its article from `article` on; the preposition in front of it, or ""."""

    article: int
    start: int
    end: int
    preposition: str
    owns: bool

    def numeric(self, text: str) -> bool:
        """Whether it begins with a digit: a year, a number."""
        return text[self.start].isdigit()


def find_names(question: str) -> list[Name]:
    """The names of an English question, in order: runs of capitalised words and numbers, of lower-case links between them too."""
    found = []
    tokens = [(match.start(), match[0]) for match in re.finditer(r"\S+", question)]
    i = 0
    while i < len(tokens):
        if not _begins(tokens, i):
            i += 1
            continue
        last = i
        while (after := _continued(tokens, last)) is not None:
            last = after
        start, end, owns = _edges(*tokens[i])[0], *_edges(*tokens[last])[1:]
        article = tokens[i - 1][0] if i and _plain(tokens[i - 1][1]).lower() in DETERMINERS else start
        governed = _GOVERNED.search(question[:article])
        found.append(Name(article, start, end, governed[1].lower() if governed else "", owns))
        i = last + 1
    return found


def _begins(tokens: Sequence[tuple[int, str]], i: int) -> bool:
    word = _plain(tokens[i][1])
    if not is_capital(word) or word.lower() in IDLE:
        return False
    if i or word[0].isdigit():
        return True
    # The first word of a question may have its capital for that alone.
    after = tokens[1][1] if len(tokens) > 1 else ""
    return _edges(*tokens[0])[2] or after in _BE or (is_capital(_plain(after)) and word.lower() not in PREPOSITIONS)


def _continued(tokens: Sequence[tuple[int, str]], last: int) -> int | None:
    """The index of the token that goes on with a name whose last one so far is `last`."""
    token = tokens[last][1]
    abbreviated = token.endswith(".") and len(token) <= 4
    if _edges(*tokens[last])[2] or (token[-1] in ',;:?!.)"”' and not abbreviated):
        return None
    links = 0
    while last + 1 + links < len(tokens) and links < 2 and tokens[last + 1 + links][1] in _LINKS:
        links += 1
    after = last + 1 + links
    return after if after < len(tokens) and is_capital(_plain(tokens[after][1])) else None


def _edges(start: int, token: str) -> tuple[int, int, bool]:
    """(start, end, whether it owns) of a token's word, without marks around it and without 's."""
    word = token.strip(_MARKS)
    first = start + token.find(word)
    bare = re.sub(r"['’]s$", "", word)
    if token.endswith(("s'", "s’")):
        return first, first + len(word), True
    kept = len(bare) + (
        token[len(bare) + first - start :].startswith(".") and len(bare) <= 3 and not token.endswith("?")
    )
    return first, first + kept, bare != word


def _plain(token: str) -> str:
    return token.strip(_MARKS)


def is_capital(word: str) -> bool:
    """Whether a word begins with a capital or a digit."""
    return word[:1].isupper() or word[:1].isdigit()


def is_name(phrase: str) -> bool:
    """Whether a phrase is one name, perhaps behind an article, perhaps with 's."""
    tokens = [_plain(token) for token in phrase.split()]
    tokens = tokens[1:] if tokens and tokens[0] in DETERMINERS else tokens
    return (
        bool(tokens)
        and is_capital(tokens[0])
        and is_capital(tokens[-1])
        and all(is_capital(token) or token in INNER for token in tokens)
    )
