"""Follow-up questions by rules: which questions lean on what was said before, and which words they leave unsaid. English and Chinese.

A question that points back ("When was it built?") is about the names of the turn before it, or about that question's content words where it
names nothing, and about its answer. One that is only a part of a question ("And in Peru?", "那日本呢？") asks the question before it again:
it takes over its content words, less its name where each names one thing. Where the turn before was a follow-up too, what that
one took over is handed on.

Where one reading of a follow-up is sure, `rag.substitution` makes a whole question of it; these words are for the others.

Known gaps: names are known by their capitals, so text in characters has content words only, and all of them are taken over; what a
pronoun may stand for is only named.
"""

import re
from collections.abc import Sequence

from genir.words import UNSPACED
from rag.markers import take_markers
from rag.packing import count_words
from rag.prompt import Turn, is_unknown

SHORT_ANSWER = 6  # words; a longer answer hands on its first names, and those only where the question named nothing
LONG_ANSWER_NAMES = 3

_PRONOUNS = frozenset("it its he him his she her hers they them their theirs".split())
_POINTERS = frozenset("this that these those there one ones former latter".split())  # which may have another meaning
_ASKING = frozenset("what which who whom whose where when why how".split())
_OTHERS = """a about also am an and any are as at be been but by can could did do does during for from had has have if in into
    is many me most much my name of off on or our out over please so some such tell than the then through to too up us was
    we were will with would i you your"""
IDLE = frozenset(_OTHERS.split()) | _PRONOUNS | _POINTERS | _ASKING
_THERE_IS = re.compile(r"\b(?:is|are|was|were)\s+there\b", re.I)
_PART = re.compile(r"\s*(?:and|or|but|what about|how about|what of)\b", re.I)
_WORD = re.compile(r"\w[\w'’-]*")

UNSPACED_TEXT = re.compile(f"[{UNSPACED}]")
_POINTERS_ZH = re.compile(
    r"(?<![其吉])[它他她牠][们們]?|其(?!他|它|余|餘|中|实|實)|[那这這](?:里|裡|儿|兒|个|個|些|座|位|本|部)|该(?=国|市|人|书|片|城|省|校)|此(?=人|地|书)"
)
_PART_ZH = re.compile(r"^\s*(?:那么?|那麼|还有|還有)|呢\s*[？?。]?\s*$")
_ASKING_ZH = re.compile(r"什么|什麼|谁|誰|哪|几|幾|多少|怎|何|吗|嗎")
_IDLE_ZH = re.compile(
    r"什么|什麼|多少|为什么|為什麼|怎么|怎麼|怎样|怎樣|哪里|哪裡|哪个|哪個|哪些|哪一|哪|谁|誰|何时|何時|何|几|幾|请问|請問|是否|那么|那麼|"
    r"还有|還有|[的了是在有和与與吗嗎呢吧被把对對于於由及个個那这這它他她牠们們其为為]"
)
_RUN_ZH = re.compile(rf"[{UNSPACED}]+|[A-Za-z0-9][\w.-]*")


def is_follow_up(question: str) -> bool:
    """Whether a question leans on what was said before: it points back, or is only a part of a question."""
    return points_back(question) or is_part(question)


def points_back(question: str) -> bool:
    """Whether it holds a pronoun with no name in front of it, or a word such as "that" and no name at all."""
    if UNSPACED_TEXT.search(question):
        return _POINTERS_ZH.search(question) is not None
    plain = _THERE_IS.sub(" ", question)
    for match in _WORD.finditer(plain):
        word = match[0].lower()
        if (word in _PRONOUNS and not names(plain[: match.start()])) or (word in _POINTERS and not names(plain)):
            return True
    return False


def is_part(question: str) -> bool:
    """Whether it has no content word, or opens as a part does ("and", "what about") and asks nothing itself."""
    if UNSPACED_TEXT.search(question):
        part = _PART_ZH.search(question) is not None and _ASKING_ZH.search(question) is None
    else:
        opening = _PART.match(question)
        rest = question[opening.end() :] if opening else ""
        part = opening is not None and not any(word.lower() in _ASKING for word in _WORD.findall(rest))
    return part or not content(question)


def handed_on(question: str, turns: Sequence[Turn]) -> list[str]:
    """Phrases of earlier turns (oldest first) that a question leaves unsaid, the nearest turn's first; none where it is no follow-up."""
    if not turns or not is_follow_up(question):
        return []
    *earlier, last = turns
    before, own = names(last.question), names(question)
    if points_back(question):
        answer = "" if is_unknown(last.answer) else take_markers(last.answer)[0]
        told = names(answer)
        if count_words(answer) > SHORT_ANSWER:
            told = [] if before else told[:LONG_ANSWER_NAMES]
        elif not told and answer:
            told = [answer]
        phrases = (before or content(last.question)) + told
    elif own and len(before) == 1:
        replaced = {word.lower() for word in before[0].split()}
        phrases = [word for word in content(last.question) if word.lower() not in replaced]
    else:
        phrases = content(last.question)
    return phrases + handed_on(last.question, earlier)


def names(text: str) -> list[str]:
    """Runs of capitalised words and numbers, in order; none in text written in characters."""
    if UNSPACED_TEXT.search(text):
        return []
    found: list[list[str]] = [[]]
    for token in text.split():
        word = token.strip(".,;:?!\"'“”‘’()[]").removesuffix("'s").removesuffix("’s")
        # The first word of a sentence may have its capital for that alone.
        if (word[:1].isupper() and (found[-1] or word.lower() not in IDLE)) or word[:1].isdigit():
            found[-1].append(word)
            ended = token[-1] in ".,;:?!)"
        else:
            ended = True
        if ended:
            found.append([])
    return [" ".join(run) for run in found if run]


def content(text: str) -> list[str]:
    """Words that say what a text is about, in its own spelling."""
    if UNSPACED_TEXT.search(text):
        return _RUN_ZH.findall(_IDLE_ZH.sub(" ", text))
    return [word for word in _WORD.findall(text) if word.lower() not in IDLE]
