"""Questions and passages -> the text that a generator continues, and back.

Passages come best first and are numbered from 1. The budget bounds the whole prompt: the question always stands; worked examples and
earlier turns give way, the furthest first, before the best passage is cut (or, where it must be, below half of what is free); then come
the passages (`rag.packing`). White space inside a passage, question or answer becomes one space: each is one line, which is what makes
`parse_prompt` exact, and what keeps a passage from posing as another part of the prompt. A model's own markers (`</s>`, a chat's turns)
are the generators' to read as text: `rag.chat_template`.
"""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from genir.errors import ConfigError
from genir.records import Document
from rag.packing import Count, count_words, one_line, pack
from rag.sentences import words
from rag.template import DEFAULT_TEMPLATE, UNKNOWN, PromptTemplate

__all__ = [
    "DEFAULT_TEMPLATE",
    "UNKNOWN",
    "Count",
    "Prompt",
    "PromptTemplate",
    "Shot",
    "Turn",
    "build_prompt",
    "compose",
    "count_words",
    "fill",
    "is_unknown",
    "may_be_unknown",
    "one_line",
    "parse_prompt",
    "say_left_out",
    "turns_text",
]

_UNKNOWNS = tuple(tuple(words(text)) for text in (UNKNOWN, "I don't know", "我不知道"))
_LINE = r"[^\n]*"


@dataclass(frozen=True, slots=True)
class Shot:
    """A worked example: a question, its answer, and the passage that holds it, of the document `doc_id` (empty: closed-book)."""

    question: str
    answer: str
    passage: str = ""
    doc_id: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was asked and answered earlier in a conversation."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text, and how much of what was given stands in it: the first `passages`, the last `shots` and the last `turns`.

    `left_out`: how many of them do not, in this order.
    """

    text: str
    passages: int = 0
    shots: int = 0
    turns: int = 0
    left_out: tuple[int, int, int] = (0, 0, 0)


def build_prompt(
    question: str,
    passages: Sequence[Document] = (),
    template: PromptTemplate = DEFAULT_TEMPLATE,
    budget: int = 1024,
    count: Count = count_words,
    *,
    shots: Sequence[Shot] = (),
    turns: Sequence[Turn] = (),
) -> str:
    """The text of `compose`."""
    return compose(question, passages, template, budget, count, shots=shots, turns=turns).text


def compose(
    question: str,
    passages: Sequence[Document] = (),
    template: PromptTemplate = DEFAULT_TEMPLATE,
    budget: int = 1024,
    count: Count = count_words,
    *,
    shots: Sequence[Shot] = (),
    turns: Sequence[Turn] = (),
) -> Prompt:
    """The prompt of a question: grounded in `passages` (best first), or closed-book where there are none.

    `budget` bounds the whole prompt in the unit of `count`; `turns` stand oldest first, `shots` weakest first. Raises ConfigError where
    the question alone does not fit, or not even a word of a passage, and for shots or turns that the template has no place for.
    """
    _check_places(template, bool(passages), shots, turns)
    question = one_line(question)
    texts = [one_line(passage.title_and_text) for passage in passages]

    def whole(lines: Sequence[str], prompt: Prompt) -> str:
        kept = shots[len(shots) - prompt.shots :], turns[len(turns) - prompt.turns :]
        return _frame(template, question, "\n".join(lines) if passages else None, *kept)

    def line(number: int, text: str) -> str:
        return fill(template.passage, number=str(number), text=text)

    bare = count(whole((), Prompt("")))
    if bare > budget:
        raise ConfigError(f"prompt budget {budget}: the question alone needs {bare}; shorten it or raise the budget")
    free, needed = budget - bare, count(line(1, texts[0]) + "\n") if texts else 0
    if needed > free:  # it is cut in any case
        needed = free // 2
    prompt = Prompt("", 0, len(shots), len(turns))
    while (used := count(whole((), prompt))) + needed > budget and (prompt.shots or prompt.turns):
        prompt = replace(prompt, shots=prompt.shots - 1) if prompt.shots else replace(prompt, turns=prompt.turns - 1)
    room = budget - used
    while True:
        lines = pack(texts, room, count, line)
        if texts and not lines:
            raise ConfigError(f"prompt budget {budget}: no room for a passage beside the question; raise the budget")
        text = whole(lines, prompt)
        excess = count(text) - budget  # tokens of parts need not add up to those of the whole
        if excess <= 0:
            left_out = len(texts) - len(lines), len(shots) - prompt.shots, len(turns) - prompt.turns
            return replace(prompt, text=text, passages=len(lines), left_out=left_out)
        room -= excess


def say_left_out(prompts: Sequence[Prompt]) -> None:
    """Warn, in one line with counts, where prompts had no room for passages, worked examples or earlier turns."""
    short = [prompt for prompt in prompts if any(prompt.left_out)]
    if not short:
        return
    kept = [sum(counts) for counts in zip(*((one.passages, one.shots, one.turns) for one in short), strict=True)]
    lost = [sum(counts) for counts in zip(*(one.left_out for one in short), strict=True)]
    told = [
        f"{gone} of {gone + held} {what}"
        for what, gone, held in zip(("passages", "worked examples", "earlier turns"), lost, kept, strict=True)
        if gone
    ]
    warnings.warn(
        f"{' and '.join(told)} did not fit the prompts of {len(short)} of {len(prompts)} questions and were left out: give fewer or "
        "shorter ones, or a model with a longer context",
        stacklevel=3,
    )


def parse_prompt(prompt: str, template: PromptTemplate = DEFAULT_TEMPLATE) -> tuple[str, list[str]]:
    """(question, passages) of a prompt that `build_prompt` made with the same template; no passages for a closed-book one.

    Worked examples and earlier turns are passed over. Raises ConfigError for any other text.
    """
    one = {"passages": _LINE, "question": _LINE, "answer": _LINE}
    parts = {
        "turns": f"(?:{_regex(template.turn, **one)})*" if template.turn else "",
        "unknown": re.escape(template.unknown),
        "question": f"(?P<question>{_LINE})",
    }
    shots = f"(?:{_regex(template.shot, **one)})*" if template.shot else ""
    held = rf"(?P<passages>{_LINE}(?:\n[^\n]+)*)"
    grounded = re.fullmatch(_regex(template.grounded, passages=held, shots=shots, **parts), prompt)
    if grounded:
        line = re.compile(_regex(template.passage, number=r"\d+", text=f"(?P<text>{_LINE})"))
        found = [line.fullmatch(part) for part in grounded["passages"].split("\n")]
        if all(found):
            return grounded["question"], [match["text"] for match in found if match]
    shots = f"(?:{_regex(template.closed_shot, **one)})*" if template.closed_shot else ""
    closed = re.fullmatch(_regex(template.closed_book, shots=shots, **parts), prompt)
    if closed:
        return closed["question"], []
    raise ConfigError(f"not a prompt of this template: {prompt[:80]!r}; build it with rag.prompt.build_prompt")


def is_unknown(text: str, template: PromptTemplate = DEFAULT_TEMPLATE) -> bool:
    """Whether a reply says that there is no answer: empty, or begins with the template's words for it, or with usual ones."""
    said = tuple(words(text))
    unknowns = (tuple(words(template.unknown)), *_UNKNOWNS)
    return not said or any(said[: len(unknown)] == unknown for unknown in unknowns)


def may_be_unknown(text: str, template: PromptTemplate = DEFAULT_TEMPLATE) -> bool:
    """Whether a reply that begins so says, or may yet say, that there is no answer; the last word may be half written."""
    *said, last = words(text) or [""]
    n = len(said)
    unknowns = (tuple(words(template.unknown)), *_UNKNOWNS)
    return is_unknown(text, template) or any(
        list(unknown[:n]) == said and n < len(unknown) and unknown[n].startswith(last) for unknown in unknowns
    )


def fill(text: str, /, **values: str) -> str:
    """Named places filled in one pass, so that braces inside a value stay what they are."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)


def check_places(wording: Any, expected: Mapping[str, Collection[str]]) -> None:
    """Raise ConfigError where a text of a wording, a dataclass of texts with its `language`, has other named places than expected."""
    for name, text in asdict(wording).items():
        wanted, found = set(expected.get(name, ())), set(re.findall(r"\{(\w+)\}", text))
        if found != wanted:
            raise ConfigError(
                f"wording {wording.language!r}: {name!r} has the places {sorted(found)}, expected {sorted(wanted)}"
            )


def turns_text(turns: Sequence[Turn], template: PromptTemplate) -> str:
    """Earlier turns as the template words them."""
    return "".join(
        fill(template.turn, question=one_line(turn.question), answer=one_line(turn.answer)) for turn in turns
    )


def _frame(
    template: PromptTemplate, question: str, passages: str | None, shots: Sequence[Shot], turns: Sequence[Turn]
) -> str:
    """The whole prompt; closed-book where `passages` is None."""
    grounded = passages is not None
    worked = "".join(
        fill(
            template.shot if grounded else template.closed_shot,
            passages=fill(template.passage, number="1", text=one_line(shot.passage)),
            question=one_line(shot.question),
            answer=one_line(shot.answer),
        )
        for shot in shots
    )
    return fill(
        template.grounded if grounded else template.closed_book,
        passages=passages or "",
        question=question,
        shots=worked,
        turns=turns_text(turns, template),
        unknown=template.unknown,
    )


def _check_places(template: PromptTemplate, grounded: bool, shots: Sequence[Shot], turns: Sequence[Turn]) -> None:
    """Raise ConfigError where examples or turns would be dropped silently."""
    text = template.grounded if grounded else template.closed_book
    shot = template.shot if grounded else template.closed_shot
    for what, given, wording in (("shots", shots, shot), ("turns", turns, template.turn)):
        if given and not (wording and f"{{{what}}}" in text):
            raise ConfigError(
                f"prompt template {template.name or text!r}: has no place {{{what}}}, or no wording, for the {len(given)} {what} given"
            )


def _regex(template: str, /, **groups: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(
        groups.get(part, re.escape("{" + part + "}")) if i % 2 else re.escape(part) for i, part in enumerate(parts)
    )
