"""Questions that put a claim to the test, made by rules: a name or a number is taken out, a question word put in its place.

"Oslo is the capital of Norway." gives "What is the capital of Norway?" (expecting Oslo) and "Oslo is the capital of what?" (Norway). A
bare answer says nothing without its question, so it is put in the place of the question word, and the question's names, or else its
numbers, are asked for: "Lima" to "What is the capital of Peru?" gives "Lima is the capital of what?" (Peru). That is asking backwards: an
answer that belongs to another subject leads to that subject.

After cloze translation (Lewis et al. 2019), as in `genir.cloze`, which makes training questions of the same kind but does not say what it
took out. Known gaps: the grammar is rough, a bare answer to a question without names has no question, and neither has a sentence without
names and numbers.
"""

import re
import unicodedata
from dataclasses import dataclass

from rag.measures.names import is_unspaced, names
from rag.measures.numbers import numbers
from rag.sentences import words

MOST = 3  # questions a claim
BARE = 6  # words below which a claim is taken for a bare answer

_QUESTION_WORD = re.compile(
    r"\b(?:how (?:many|much)|(?:(?:in|on|at|since) )?(?:what|which) year|(?:in|on|at|since) (?:what|which)|since when|"
    r"who|whom|whose|when|where|what|which|why|how)\b"
    r"|什[么麼][时時][候间間]|什[么麼]地方|什[么麼]|哪[里裡儿兒些]|哪一?[年天月日位个個]|何[时時年处處人]|多少|几|幾|[谁誰]|如何|为什么|為什麼",
    re.I,
)
_ENDS = " \t,.;:!?。，；：！？"


@dataclass(frozen=True, slots=True)
class Check:
    """A verification question, and the words that its answer should agree with."""

    question: str
    expected: str


def cloze_checks(claim: str, question: str, most: int = MOST) -> list[Check]:
    """The questions of a claim, at most `most`, in the order in which what they ask for stands in it; perhaps none."""
    statement = unicodedata.normalize("NFKC", claim).strip()
    asked = unicodedata.normalize("NFKC", question).strip()
    bare = len(words(statement)) < BARE and not is_sentence(statement)
    if bare:
        told = statement.casefold()
        wanted = [one for one in _names(asked) or _numbers(asked) if one[0].casefold() not in told]
        statement = _declared(asked, statement)
    else:
        found = [*_names(statement), *_numbers(statement)]
        wanted = sorted(found, key=lambda one: statement.find(one[0]))
    checks = (_check(statement, name, cue) for name, cue in wanted)
    return list({one.question: one for one in checks if one}.values())[:most]


def is_sentence(text: str) -> bool:
    """Whether a text ends like a sentence, initials and abbreviations aside."""
    return text.endswith(("。", "！", "!")) or re.search(r"\w{3,}\.$", text) is not None


def _declared(question: str, answer: str) -> str:
    """The question with the answer in the place of its question word; behind it where it has none."""
    stem = question.rstrip(_ENDS)
    found = _QUESTION_WORD.search(stem)
    if found is None:
        return f"{stem} {answer}"
    return stem[: found.start()] + answer + stem[found.end() :]


def _names(text: str) -> list[tuple[str, str]]:
    """(name, question word for it) of a text, in its order."""
    return [(name, "什么" if is_unspaced(text) else "what") for name in names(text)]


def _numbers(text: str) -> list[tuple[str, str]]:
    """(number, question word for it) of a text, in its order."""
    found = []
    for number in numbers(text):
        if number.idle:
            continue
        if is_unspaced(text):
            cue = "哪一" if text[number.end :].startswith("年") else "多少"
        else:
            cue = "when" if re.fullmatch(r"1\d{3}|20\d{2}", number.text) else "how many"
        found.append((number.text, cue))
    return found


def _check(statement: str, taken: str, cue: str) -> Check | None:
    """The statement with what is taken out replaced by a question word; None where nothing would be left."""
    start = statement.find(taken)
    if start < 0:
        return None
    before, after = statement[:start], statement[start + len(taken) :].rstrip(_ENDS)
    if not words(before + after):
        return None
    if cue == "when":
        before = re.sub(r"\b(?:in|since|until|from|around)\s+$", "", before, flags=re.I)
    text = f"{before}{cue}{after}".strip(_ENDS)
    return Check(text[:1].upper() + text[1:] + ("？" if is_unspaced(text) else "?"), taken)
