"""What a text asserts and what it denies, clause by clause, in English and Chinese: "Paris, not Rome" asserts Paris.

A text is cut into clauses, at punctuation, "and", "but" and their like, and a clause in two: what stands before the reach of its
negations, and what they deny. A negation denies what follows it in its clause ("Paris not Rome", "neither Rome nor Oslo"); one of the
verb denies the subject, too ("Paris is not the capital"), as far back as a relative pronoun ("a city that was not bombed").

No negations: "not only", "no later than", "none other than", "no doubt", 不仅, 不迟于; any in a clause with "until" ("not built until
1889"), or before the "but" of "nothing but". To a question that itself negates ("Which state did not join?") a negated verb is an echo,
unless it says what "it" is not.

Invariant: the stretches, one behind another, are the text without the white space between its sentences.

Known gaps. A denial is missed over a comma, a bracket or an "and" ("The capital is not Lyon, Paris or Rome"; "Paris, however, is not";
"Lyon and Paris are not"), where another negated verb answers a question that negates, behind a Chinese copula (位于巴黎的塔不是),
and where nothing negates ("anything but Paris", "it is false that Paris is", "Paris is wrong": "false" may be the answer). Too much is
denied in the clause of a verb that is negated for another reason ("The tower of 1889 was not popular", "Eiffel did not build it alone"),
behind a Chinese negation that only qualifies (没有被毁的城市是巴黎), and by names ("Dr. No met Bond").
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from genir.words import ENGLISH_STOPWORDS
from rag.sentences import split_sentences

IDLE = ENGLISH_STOPWORDS - {"no", "not"}  # words that neither tell nor deny anything

_EDGE = re.compile(
    r"[;!?()\[\]…，；：。！？（）—–]|[,:](?!\d)|\s-+\s|\b(?:and|but|though|although|while|whereas|because)\b|而是|但|却|卻",
    re.I,
)
_UNTIL = re.compile(r"\b(?:until|till)\b|直到|直至", re.I)
_OPENER = re.compile(r"\b(?:that|who|whom|whose|which|where|when|if|since|as)\b", re.I)
_AUXILIARY = r"""(?:\b(?:is|are|was|were|am|be|been|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must)
    | ['’](?:s|re|m|ve|ll|d))"""
_VERB = rf"""{_AUXILIARY}(?:\s+(?:\w+ly|also))?\s+not\b | \b(?:is|are|was|were|be|been)\s+no\b(?!\.)
    | \w+n['’]t\b | \bcannot\b | \bnever\b"""
_WORD = r"""\bno\b(?!\.)
    | \b(?:not|without|neither|nor|nobody|none|no[ -]one|nothing|nowhere|rather\s+than|instead\s+of)\b"""
_NOT_NEGATING = r"""(?!-) (?!\s+(?:only|just|merely|simply|solely|least|before|to\s+mention)\b) (?!\s+(?:one\s+)?other\s+than\b)
    (?!\s+(?:(?:an?|any)\s+)?(?:doubt|question|exception|wonder)\b) (?!\s+\w+\s+than\b)"""
_NEGATION = re.compile(
    rf"""(?: (?P<verb>{_VERB}) | {_WORD} ) {_NOT_NEGATING}
    | (?P<copula>[并並]?不是|[并並决決绝絕而]非)
    | (?P<chinese>[并並]?不(?:在|叫|[属屬][于於]|[会會能再])|[并並从從]?[没沒]有|[并並从從尚]未|未[曾能])""",
    re.I | re.X,
)
_IT = re.compile(r"\W*(?:it|this|that)?\s*", re.I)
_SAID = re.compile("[是在于於]")  # behind it a Chinese "is not" sets another answer apart: 首都是巴黎不是罗马


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a text, and whether a negation reaches it. The negation itself is part of what it denies."""

    text: str
    denied: bool


def stretches(text: str, question: str = "") -> list[Stretch]:
    """The parts of a text that are asserted or denied, in order; `question`: what it answers."""
    echo = _NEGATION.search(question) is not None
    found = []
    for clause in _clauses(text):
        reach = _reach(clause, echo)
        found += [Stretch(part, denied) for part, denied in ((clause[:reach], False), (clause[reach:], True)) if part]
    return found


def asserted(text: str, question: str = "") -> str:
    """What a text says without what it denies."""
    return "".join(" " if one.denied else one.text for one in stretches(text, question))


def _clauses(text: str) -> list[str]:
    """The clauses of a text, each with the mark or word that opens it."""
    found = []
    for start, end in split_sentences(text):
        sentence = text[start:end]
        edges = [0, *(match.start() for match in _EDGE.finditer(sentence)), len(sentence)]
        found += [sentence[first:last] for first, last in pairwise(edges) if first < last]
    return found


def _reach(clause: str, echo: bool) -> int:
    """Where the reach of a clause's negations begins; its length where it has none."""
    if _UNTIL.search(clause):
        return len(clause)
    return min((_start(clause, match, echo) for match in _NEGATION.finditer(clause)), default=len(clause))


def _start(clause: str, negation: re.Match[str], echo: bool) -> int:
    before = clause[: negation.start()]
    of_verb = negation["verb"] or negation["chinese"] or (negation["copula"] and not _SAID.search(before))
    if not of_verb:
        return negation.start()
    if echo and not _IT.fullmatch(before):
        return len(clause)
    return max((opener.end() for opener in _OPENER.finditer(before)), default=0)
