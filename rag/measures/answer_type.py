"""What kind of answer a question asks for, and whether an answer is plainly of another kind.

Five kinds, by the question word: a person (who), a time (when, what year), a number (how many), an amount (how much, how old, how
long: a number, a duration, or a word of degree such as "very deep"), a place (where), in English and Chinese. The check is meant to be
right where it says "no": "Gustave Eiffel" answers no "when", "1889" no "who". It cannot tell a person from a place.

`COUNTS` and `AMOUNTS` are what the features of the trained checker take for questions of number (`rag.checkers.features`): whoever changes
them has to train it again. The measure reads more questions besides, `_MORE_COUNTS` and `_MORE_AMOUNTS`.

Known gaps: other questions ("which country", "why", "how far did he go": perhaps a place; 多重: also "multiple") are not judged, nor those
with two question words of different kinds; a person named by a number alone, and a place given as a street number, look wrong; an amount
told by a comparison without a word of degree ("like a cathedral") looks wrong, too.
"""

import re
import unicodedata
from typing import Literal

from genir.words import ENGLISH_STOPWORDS
from rag.measures.numbers import numbers
from rag.sentences import words

AnswerType = Literal["person", "time", "number", "amount", "place"]
COUNTS = ("how many", "what percentage")
AMOUNTS = ("how much", "how long")

_MORE_COUNTS = "which percentage|(?:what|which) (?:number|percent|proportion|share)"
_MORE_AMOUNTS = (
    "how (?:old|tall|high|big|large|deep|fast|heavy|wide|far (?:is|are|was|were|away|from|apart|above|below))"
)

_PERIOD = "year|date|century|decade|month"
_VERB = r"(?=\W*$| (?:did|do|does|was|were|is|are|has|have|had|will|would|can|could|the|he|she|it|they)\b)"  # not "disaster"
_ENGLISH: tuple[tuple[str, AnswerType | None], ...] = (
    ("|".join((*COUNTS, _MORE_COUNTS)), "number"),
    (r"how long ago", "time"),
    ("|".join((*AMOUNTS, _MORE_AMOUNTS)), "amount"),
    (rf"(?:what|which) (?:\w+ )?(?:{_PERIOD})s?{_VERB}", "time"),
    (r"since when|when", "time"),
    (r"who|whom|whose", "person"),
    (r"where", "place"),
    (r"what|which|why|how", None),
)
_QUESTION_WORD = re.compile("|".join(rf"(?P<k{i}>\b(?:{pattern})\b)" for i, (pattern, _) in enumerate(_ENGLISH)), re.I)
_CLOSING = re.compile(rf"(?:{_QUESTION_WORD.pattern})\W*$", re.I)
_CLAUSE = re.compile(r"[,;:?]\s*")
_OPENING = re.compile(r"(?:\w+ ){0,2}", re.I)  # "in what year", "from about when"
_CHINESE: tuple[tuple[str, AnswerType], ...] = (
    (r"什[么麼][时時][候间間]|何[时時年]|哪一?[年天月日]|哪[个個]世[纪紀]|几月|幾月", "time"),
    (r"多少|几[个個名位次种種条條只隻座所岁歲]|幾[个個名位次種条條隻座所歲]", "number"),
    (r"(?<![很许許最更太众眾])多[长長高大远遠深快宽寬久]", "amount"),
    (r"[谁誰]|哪位|何人", "person"),
    (r"哪[里裡儿兒]|何[处處地]|什[么麼]地方", "place"),
)

_QUANTITY = frozenset(
    """none no zero nobody nothing all both half several many few some most dozens hundreds thousands millions billions
    majority minority single pair couple twice double triple quarter quarters thirds third more less fewer any numerous
    countless number larger smaller greater enough little lot lots equal every each never entire whole once""".split()
)
_TIME = frozenset(
    """january february march april may june july august september october november december jan feb mar apr jun jul aug
    sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday spring summer autumn fall winter ago
    century centuries decade decades year years month months week weeks day days hour hours night morning noon midnight
    evening dawn dusk today yesterday tomorrow now currently before after during until till since when while once
    following upon era age ages period war reign dynasty late early mid middle end beginning start bc bce ad ce
    annually daily weekly monthly yearly always never immediately later earlier shortly recently prehistoric antiquity
    medieval renaissance revolution easter christmas birth death""".split()
)
_DEGREE = frozenset(
    """long short tall high low deep shallow big large small huge tiny wide broad narrow heavy light fast slow quick old young
    far near close away distance length height depth width breadth size weight speed age longer shorter taller higher lower
    deeper bigger heavier faster slower older younger farther further same much second seconds minute minutes forever life
    lifetime foot feet inch inches yard yards mile miles metre metres meter meters kilometre kilometres kilometer kilometers
    pound pounds ton tons kilogram kilograms free fortune""".split()
)
_CHINESE_DEGREE = re.compile("[长長短高低大小远遠近深浅淺快慢宽寬窄久重轻輕老]")
_CHINESE_TIME = re.compile("[年月日天时時春夏秋冬昨今明初末战戰前后後朝代]|世[纪紀]|期[间間]|星期|[周週]")
_CHINESE_QUANTITY = re.compile("[没沒无無零半全所有几幾数數多少两兩一二三四五六七八九十百千万萬亿億]")
_IDLE = ENGLISH_STOPWORDS | frozenset(
    "about around over under nearly almost circa approximately c s th st nd rd".split()
)


def expected_type(question: str) -> AnswerType | None:
    """The kind of answer that a question asks for; None where that is not one of the five, or not plain."""
    plain = unicodedata.normalize("NFKC", question)
    chinese = {kind for pattern, kind in _CHINESE if re.search(pattern, plain)}
    if chinese:
        return chinese.pop() if len(chinese) == 1 else None
    closing = _CLOSING.search(plain)
    if closing:  # "... is considered as what?"
        return _kind(closing)
    kinds = {kind for clause in _CLAUSE.split(plain) for kind in _opening_kind(clause)}
    if kinds:  # "When Victoria died, who followed her?" asks two things at once: not plain
        return kinds.pop() if len(kinds) == 1 else None
    match = _QUESTION_WORD.search(plain)
    return _kind(match) if match else None


def is_of_another_type(answer: str, expected: AnswerType) -> bool:
    """Whether an answer is plainly not of the expected kind.

    A number or a time must be said by a numeral or a word for one, an amount by these or by a word of degree; a person or a place must be
    more than numbers and times. An answer without any word is of no kind.
    """
    said = words(answer)
    if not said:
        return True
    counted = bool(numbers(answer) or "%" in answer or _QUANTITY & set(said) or _CHINESE_QUANTITY.search(answer))
    timed = bool(numbers(answer) or _TIME & set(said) or _CHINESE_TIME.search(answer))
    if expected == "number":
        return not counted
    if expected == "amount":
        return not (counted or timed or _DEGREE & set(said) or _CHINESE_DEGREE.search(answer))
    if expected == "time":
        return not timed
    return _only_numbers_and_times(answer)


def _opening_kind(clause: str) -> list[AnswerType | None]:
    """The kind of the question word that opens a clause, if one does."""
    opening = _OPENING.match(clause)
    match = _QUESTION_WORD.search(clause)
    return [_kind(match)] if match and opening and match.start() <= opening.end() else []


def _kind(match: re.Match[str]) -> AnswerType | None:
    return next(kind for i, (_, kind) in enumerate(_ENGLISH) if match[f"k{i}"])


def _only_numbers_and_times(answer: str) -> bool:
    plain = unicodedata.normalize("NFKC", answer)
    found = numbers(plain)
    if not found:
        return False
    for number in reversed(found):
        plain = f"{plain[: number.start]} {plain[number.end :]}"
    return all(word in _IDLE or word in _TIME or _CHINESE_TIME.fullmatch(word) for word in words(plain))
