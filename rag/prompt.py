"""Questions and passages -> the text that a generator continues, and back.

A template is plain text with named places. Passages come best first and are numbered from 1; those that no longer
fit the budget are cut at a word or left out from the end, so that the best one always stands. White space inside a
passage or question becomes one space: every passage is one line, which is what makes `parse` exact.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from genir.errors import ConfigError
from genir.records import Document
from rag.sentences import words

UNKNOWN = "I do not know"

Count = Callable[[str], int]  # length of a text in the budget's unit


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """Wording of a prompt. Places: {passages} and {question} in `grounded`, {question} in `closed_book`, {number} and {text} in `passage`.

    `unknown` is what the model is told, or was taught, to say when it has no answer.
    """

    grounded: str = (
        "Answer the question from the passages alone, in a few words. "
        'If they do not hold the answer, reply "I do not know".\n\n{passages}\n\nQuestion: {question}\nAnswer:'
    )
    closed_book: str = 'Answer the question in a few words. If you do not know, reply "I do not know".\n\nQuestion: {question}\nAnswer:'
    passage: str = "[{number}] {text}"
    unknown: str = UNKNOWN

    def __post_init__(self) -> None:
        places = (
            ("grounded", self.grounded, ("{passages}", "{question}")),
            ("closed_book", self.closed_book, ("{question}",)),
            ("passage", self.passage, ("{text}",)),
        )
        for name, text, needed in places:
            for place in needed:
                if text.count(place) != 1:
                    raise ConfigError(f"prompt template {name!r}: expected {place} exactly once, got {text!r}")


DEFAULT_TEMPLATE = PromptTemplate()


def one_line(text: str) -> str:
    """`text` with every run of white space turned into one space."""
    return " ".join(text.split())


def count_words(text: str) -> int:
    """Words as `rag.sentences` counts them: a Chinese character is one."""
    return len(words(text))


def build_prompt(
    question: str,
    passages: Sequence[Document] = (),
    template: PromptTemplate = DEFAULT_TEMPLATE,
    budget: int = 1024,
    count: Count = count_words,
) -> str:
    """The prompt of a question: grounded in `passages` (best first), or closed-book where there are none.

    `budget` bounds the whole prompt in the unit of `count`. Raises ConfigError where the question alone does not fit.
    """
    question = one_line(question)
    if not passages:
        return _checked(_fill(template.closed_book, question=question), budget, count)
    frame = _checked(_fill(template.grounded, passages="", question=question), budget, count)
    left = budget - count(frame)
    lines: list[str] = []
    for number, passage in enumerate(passages, 1):
        line = _fill(template.passage, number=str(number), text=one_line(passage.title_and_text))
        cut = _cut(line, left, count)
        if cut:
            lines.append(cut)
            left -= count(cut + "\n")
        if cut != line:
            break
    if not lines:
        raise ConfigError(f"prompt budget {budget}: no room for a passage beside the question; raise the budget")
    return _fill(template.grounded, passages="\n".join(lines), question=question)


def parse_prompt(prompt: str, template: PromptTemplate = DEFAULT_TEMPLATE) -> tuple[str, list[str]]:
    """(question, passages) of a prompt that `build_prompt` made with the same template; no passages for a closed-book one.

    Raises ConfigError for any other text.
    """
    grounded = re.fullmatch(
        _regex(template.grounded, passages=r"(?P<passages>.+)", question=r"(?P<question>.*)"), prompt, re.S
    )
    if grounded:
        line = re.compile(_regex(template.passage, number=r"\d+", text=r"(?P<text>.*)"))
        found = [line.fullmatch(part) for part in grounded["passages"].split("\n")]
        if all(found):
            return grounded["question"], [match["text"] for match in found if match]
    closed = re.fullmatch(_regex(template.closed_book, question=r"(?P<question>.*)"), prompt)
    if closed:
        return closed["question"], []
    raise ConfigError(f"not a prompt of this template: {prompt[:80]!r}; build it with rag.prompt.build_prompt")


def is_unknown(text: str, template: PromptTemplate = DEFAULT_TEMPLATE) -> bool:
    """Whether a reply says that there is no answer: empty, or begins with the template's words for it."""
    said = words(text)
    unknown = words(template.unknown)
    return not said or said[: len(unknown)] == unknown


def _fill(template: str, /, **values: str) -> str:
    """Named places filled in one pass, so that braces inside a passage stay what they are."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


def _regex(template: str, /, **groups: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(
        groups.get(part, re.escape("{" + part + "}")) if i % 2 else re.escape(part) for i, part in enumerate(parts)
    )


def _checked(frame: str, budget: int, count: Count) -> str:
    length = count(frame)
    if length > budget:
        raise ConfigError(f"prompt budget {budget}: the question alone needs {length}; shorten it or raise the budget")
    return frame


def _cut(line: str, room: int, count: Count) -> str:
    """The longest beginning of `line` that fits `room`, ended at a word; empty where none does."""
    if count(line) <= room:
        return line
    ends = [match.end() for match in re.finditer(r"\w(?!\w)|[^\x00-\u2e7f]", line)]
    low, high = 0, len(ends)
    while low < high:  # count() grows with the text: bisect on the number of words kept
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(line[: ends[middle - 1]]) <= room else (low, middle - 1)
    return line[: ends[low - 1]] if low else ""
