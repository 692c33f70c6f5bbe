"""Wordings of prompts, each a TOML file in `rag/templates`, or the user's own, read and checked by one function.

A wording is a set of texts with named places, written {so}. What a place stands for:

    {passages}   the evidence, a line a passage        {question}   the question, one line
    {shots}      worked examples, each made by `shot`  {turns}      what was asked and answered before, each made by `turn`
    {answer}     an answer, one line                   {unknown}    what to say where there is no answer
    {number}     a passage's rank, from 1              {text}       a passage's title and text, one line

Three wordings a language ask for the same thing, so that a figure's sensitivity to the wording can be measured. Invariants: a template
that exists has every place that it needs once, none twice, and none that nobody fills.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from genir.config import from_mapping, load_toml
from genir.errors import ConfigError, unknown_name

LANGUAGES = ("en", "zh")
WORDINGS = ("plain", "labelled", "polite")
UNKNOWN = "I do not know"

_PLACE = re.compile(r"\{(\w+)\}")
_HAN = re.compile("[\u3400-\u9fff]")
_KANA = re.compile("[\u3041-\u30fa]")
# text -> places that it must have, places that it may have
_PLACES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "grounded": (frozenset({"passages", "question"}), frozenset({"shots", "turns", "unknown"})),
    "closed_book": (frozenset({"question"}), frozenset({"shots", "turns", "unknown"})),
    "passage": (frozenset({"text"}), frozenset({"number"})),
    "shot": (frozenset({"passages", "question", "answer"}), frozenset()),
    "closed_shot": (frozenset({"question", "answer"}), frozenset()),
    "turn": (frozenset({"question", "answer"}), frozenset()),
    "condense": (frozenset({"turns", "question"}), frozenset()),
}


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One wording. `shot`, `closed_shot`, `turn` and `condense` may be empty: it then takes no examples or no conversation.

    `unknown` is what the model is told, or was taught, to say when it has no answer. Raises ConfigError for a place that is missing, stands
    twice, or means nothing.
    """

    grounded: str
    closed_book: str
    passage: str = "[{number}] {text}"
    unknown: str = UNKNOWN
    shot: str = ""
    closed_shot: str = ""
    turn: str = ""
    condense: str = ""
    language: str = "en"
    name: str = ""

    def __post_init__(self) -> None:
        named = f"prompt template {self.name}: " if self.name else "prompt template "
        for part, (needed, optional) in _PLACES.items():
            text = getattr(self, part)
            if not text and part in ("shot", "closed_shot", "turn", "condense"):
                continue
            places = _PLACE.findall(text)
            for place in (*sorted(needed), *places):
                if place not in needed | optional:
                    known = ", ".join(f"{{{one}}}" for one in sorted(needed | optional))
                    raise ConfigError(f"{named}{part!r}: {{{place}}} stands for nothing there; it takes {known}")
                if places.count(place) != 1:
                    raise ConfigError(f"{named}{part!r}: expected {{{place}}} exactly once, got {text!r}")


def load_template(wording: str = "plain", language: str = "en") -> PromptTemplate:
    """The template of a wording and a language, or of the user's own file where `wording` ends in .toml.

    Raises ConfigError, in one line, for an unknown name, a file that cannot be read, a key or a place that is missing or unknown.
    """
    if wording.endswith(".toml"):
        return _read(Path(wording), wording)
    if language not in LANGUAGES:
        raise unknown_name("language", language, LANGUAGES)
    if wording not in WORDINGS:
        raise ConfigError(f"{unknown_name('template', wording, WORDINGS)}; or give your own file, NAME.toml")
    name = f"{language}-{wording}"
    with as_file(files("rag") / "templates" / f"{name}.toml") as path:
        return _read(path, name)


def _read(path: Path, name: str) -> PromptTemplate:
    return from_mapping(PromptTemplate, {"name": name, **load_toml(path)}, f"prompt template {name}")


def written_in(text: str) -> str:
    """The language of LANGUAGES to speak with somebody who wrote `text`: Chinese for Han characters without Kana, else English."""
    return "zh" if _HAN.search(text) and not _KANA.search(text) else "en"


def unknown_for(question: str) -> str:
    """What to say to somebody who asked `question` where there is no answer: in the question's language."""
    return _unknown_in(written_in(question))


@cache
def _unknown_in(language: str) -> str:
    return load_template(language=language).unknown


DEFAULT_TEMPLATE = load_template()
