"""Follow-up questions made whole by substitution, where that can be done surely. English here, Chinese in `rag.substitution_zh`.

A part of a question ("And of Peru?") puts its name into the question before it, in the place of the name that stands in the same
grammatical place; one that names another property ("And the area?") asks for it of the same name. A pronoun gives way to the name that it
stands for: "he" and "she" to the answer of a question for a person, "there" to that of one for a place, "it" to the name that the question
was about. Wherever two readings are possible there is none: `rag.follow_ups` says which words such a question lacks.

Invariants: what is made holds the follow-up's own names; a question that was made whole is no follow-up of a kind known here.

Known gaps: names are known by their capitals, other topics only at the end of a question, behind "of", "in" or "for"; verbs are not made
to agree with a new name.
"""

import re
from collections.abc import Sequence

from rag.antecedents import ASKING, ASKS_PROPERTY, FAMILIES, Kind, antecedent, bare_answer, subject_of
from rag.follow_ups import IDLE, UNSPACED_TEXT, is_follow_up, is_part, points_back
from rag.packing import one_line
from rag.prompt import Turn
from rag.question_names import INNER, PREPOSITIONS, find_names, is_name
from rag.substitution_zh import whole_zh

_WHERE = frozenset("of in for on at".split())  # which can stand for one another: the capital of Norway, and in Peru
_PART = re.compile(r"\s*(?:(?:and|or|but|so|then|okay|ok)\b[\s,]*)*(?:(?:what|how)\s+about\b|what\s+of\b)?\s*", re.I)
_TOPIC = re.compile(r".*\b(?P<of>of|in|for)\s+(?P<det>the\s+)?(?P<topic>[a-z-]+(?:\s[a-z-]+){0,2})(?=\s*[?.]?\s*$)")
_PROPERTY = re.compile(r"(?P<det>(?:the|its|their|his|her)\s+)?(?P<what>[a-z-]+(?:\s[a-z-]+){0,3})")
_PROPERTY_OF = re.compile(
    r"(?:the\s+)?[a-z-]+(?:\s[a-z-]+){0,3}\s+(?:of|in)\s+(?:the\s+)?\S.*|(?:the\s+)?\S.*['’]s?\s+[a-z -]+"
)
_WORD = re.compile(r"\w[\w'’-]*")
_THERE_IS = re.compile(r"\b(?:is|are|was|were)\s+there\b", re.I)
_OWNING = frozenset("his hers its their theirs".split())
_ITS = re.compile(r"(\w+ (?:is|was|are|were)) (?:its|their) ([a-z][a-z -]*[a-z])\s*[?.]?", re.I)
_UNRESOLVED = frozenset("this that these those one ones former latter".split())


def whole(question: str, turns: Sequence[Turn]) -> str | None:
    """The question with what it leaves unsaid put in; itself where it is no follow-up, None where no reading of it is sure.

    `turns` stand oldest first; one that was a follow-up itself counts as it was made whole.
    """
    asked = [one_line(text) for text in (*(turn.question for turn in turns), question)]
    first = max((i for i, text in enumerate(asked) if not _leans(text)), default=0)
    made: str | None = asked[first]
    for text, last in zip(asked[first + 1 :], turns[first:], strict=True):
        made = None if made is None or is_part(made) else _made_whole(text, made, last.answer)
    return made


def _made_whole(question: str, before: str, answer: str) -> str | None:
    """The question with what it takes from `before`, a whole question, or from its answer."""
    if UNSPACED_TEXT.search(question + before):
        return whole_zh(question, before, bare_answer(answer))
    part = _rest(question)
    return _resolved(question, before, answer) if part is None else _asked_again(part, before, answer)


def _leans(question: str) -> bool:
    return is_follow_up(question) or (not UNSPACED_TEXT.search(question) and _rest(question) is not None)


def _rest(question: str) -> str | None:
    """What a part of a question says behind its opening; None for any other question."""
    opening = _PART.match(question)
    rest = question[opening.end() :] if opening else ""
    if (
        not opening
        or not opening[0].strip()
        or ASKING.search(rest)
        or not (is_part(question) or "about" in opening[0].lower())
    ):
        return None
    return re.sub(r"(?:,?\s*(?:then|please))?\s*[?.!]*\s*$", "", rest)


def _asked_again(part: str, before: str, answer: str) -> str | None:
    """`before` with what the part of a question names in its place, or asked of another property; None where neither is sure."""
    first, _, behind = part.partition(" ")
    preposition = first.lower() if first.lower() in PREPOSITIONS and behind else ""
    phrase = behind if preposition else part
    if is_name(phrase):
        phrase = re.sub(r"['’]s?$", "", phrase)
        place = _place(phrase, preposition, before)
        return None if place is None else before[: place[0]] + phrase + before[place[1] :]
    if (
        _PROPERTY_OF.fullmatch(part)
        and not preposition
        and (find_names(f"x {part}") or " of " in part)
        and not _idle(part)
    ):
        return f"What is {part}?"
    named = find_names(before)
    topic = None if named else _topic(before)
    asked = _PROPERTY.fullmatch(phrase)
    if asked is None or _idle(asked["what"]):
        return None
    if topic and (topic[0] == preposition or (not preposition and not asked["det"] and not topic[1])):
        return before[: topic[2]] + phrase + before[topic[3] :]
    if preposition or not (asked["det"] or ASKS_PROPERTY.match(before)):
        return None
    pronoun = (asked["det"] or "the").strip()
    kind: Kind = next((kind for kind, family in FAMILIES if pronoun in family), "thing")
    # "And the area?" asks for another property in the place of the one that was asked for, whatever that was.
    parallel = pronoun == "the" and ASKS_PROPERTY.match(before)
    about = subject_of(before) if parallel else antecedent(kind, before, answer)
    if about is None and topic and not topic[1] and pronoun == "the":
        about = before[topic[2] : topic[3]]
    return None if about is None else f"What is the {asked['what']} of {about}?"


def _place(phrase: str, preposition: str, before: str) -> tuple[int, int] | None:
    """Characters start..end of `before` that a name takes the place of."""
    numeric = phrase[0].isdigit()
    named = [name for name in find_names(before) if name.numeric(before) == numeric]
    if not named and not numeric and not find_names(before):
        topic = _topic(before)
        return topic[2:] if topic and preposition in ("", topic[0]) else None
    if preposition:
        same = [name for name in named if name.preposition == preposition]
        if not same and preposition in _WHERE:
            same = [name for name in named if name.preposition in _WHERE or name.owns]
        if not same and preposition in ("of", "for") and not any(name.preposition for name in named):
            same = named
        named = same
    return (named[0].article, named[0].end) if len(named) == 1 else None


def _topic(before: str) -> tuple[str, bool, int, int] | None:
    """(preposition, whether it has an article, start, end) of what ends a question that names nothing."""
    found = _TOPIC.match(before)
    if found is None or _idle(found["topic"]):
        return None
    return (
        found["of"],
        bool(found["det"]),
        found.start("det") if found["det"] else found.start("topic"),
        found.end("topic"),
    )


def _idle(phrase: str) -> bool:
    """Whether a phrase says nothing, or holds words that make more of it than the name of a thing."""
    return any(word.lower() in IDLE - INNER for word in _WORD.findall(phrase)) or all(
        word in INNER for word in phrase.split()
    )


def _resolved(question: str, before: str, answer: str) -> str | None:
    """The question with a name for its pronoun; None where it has pronouns of several kinds, or what one stands for is not sure."""
    plain = _THERE_IS.sub(lambda match: "_" * len(match[0]), question)
    said = {match[0].lower() for match in _WORD.finditer(plain)}
    families = [(kind, family) for kind, family in FAMILIES if family & said]
    if len(families) != 1 or _UNRESOLVED & said or not points_back(question):
        return None
    [(kind, family)] = families
    about = antecedent(kind, before, answer)
    if about is None:
        return None
    if owned := _ITS.fullmatch(question):
        return f"{owned[1]} the {owned[2]} of {about}?"
    found = [match for match in _WORD.finditer(plain) if match[0].lower() in family]
    made, end = "", 0
    for match in found:
        made += question[end : match.start()] + _instead(
            match[0].lower(), about, question[: match.start()], question[match.end() :]
        )
        end = match.end()
    return made + question[end:]


def _instead(pronoun: str, about: str, before: str, behind: str) -> str:
    """What stands for a pronoun between two halves of a question."""
    after = _WORD.match(behind.lstrip())
    if pronoun in _OWNING or (pronoun == "her" and after and after[0].lower() not in IDLE):
        return about + "'s"
    if pronoun == "there" and before.split()[-1:] not in [[one] for one in PREPOSITIONS]:
        return f"in {about}"
    return about
