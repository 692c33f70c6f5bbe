"""The prompts of the steps that verify and edit: one TOML file a language, each text with named places, written {so}.

Invariant: what is put into a place is one line, so that an answer or a passage cannot pose as another part of the prompt.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

from genir.config import from_mapping, load_toml
from rag.packing import one_line
from rag.prompt import check_places, fill
from rag.template import load_template, written_in

_PLACES = {
    "questions": {"question", "answer"},
    "check": {"question", "answer"},
    "revise": {"question", "answer", "checks", "unknown"},
    "edit": {"question", "answer", "evidence", "unknown"},
}
_NUMBERED = re.compile(r"^\s*(?:\d{1,2}[.)、]|[-*•])\s*")


@dataclass(frozen=True, slots=True)
class Wording:
    """`questions` asks for verification questions, `check` is one that was answered, `revise` asks for the answer after all checks, `edit`
    for a statement that agrees with its evidence. Raises ConfigError for a place that is missing or means nothing.
    """

    language: str
    questions: str
    check: str
    revise: str
    edit: str

    def __post_init__(self) -> None:
        check_places(self, _PLACES)

    def ask(self, question: str, answer: str) -> str:
        """The prompt for verification questions."""
        return fill(self.questions, question=one_line(question), answer=one_line(answer))

    def settle(self, question: str, answer: str, checks: list[tuple[str, str]]) -> str:
        """The prompt for the answer after its checks, (question, answer) each."""
        told = "".join(fill(self.check, question=one_line(asked), answer=one_line(said)) for asked, said in checks)
        return fill(
            self.revise, question=one_line(question), answer=one_line(answer), checks=told, unknown=self.unknown
        )

    def mend(self, question: str, statement: str, evidence: str) -> str:
        """The prompt for a statement that agrees with the evidence."""
        return fill(
            self.edit,
            question=one_line(question),
            answer=one_line(statement),
            evidence=one_line(evidence),
            unknown=self.unknown,
        )

    @property
    def unknown(self) -> str:
        """What to reply where nothing tells."""
        return load_template("plain", self.language).unknown


def wording_for(text: str) -> Wording:
    """The wording in the language of a text: Chinese or English."""
    return _load(written_in(text))


def listed(reply: str, most: int) -> list[str]:
    """The lines of a reply without their numbers, blank ones and repetitions left out; at most `most`."""
    lines = (_NUMBERED.sub("", line).strip() for line in reply.splitlines())
    return list(dict.fromkeys(line for line in lines if any(c.isalnum() for c in line)))[:most]


@cache
def _load(language: str) -> Wording:
    with as_file(files("rag.mitigations.wording") / f"{language}.toml") as path:
        return from_mapping(Wording, load_toml(path), f"wording {language}")
