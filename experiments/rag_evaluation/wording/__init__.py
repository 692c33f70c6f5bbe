"""What a user says who doubts an answer: one TOML file a language, each text with named places, written {so}."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

from genir.config import from_mapping, load_toml
from rag.prompt import check_places, fill
from rag.template import LANGUAGES

_PLACES = {"says_so": {"named"}, "quoted": {"named", "sentence"}}


@dataclass(frozen=True, slots=True)
class DoubtWording:
    """`says_so` names another answer, `quoted` also quotes a sentence that says it.

    Raises ConfigError for a place that is missing or means nothing.
    """

    language: str
    says_so: str
    quoted: str

    def __post_init__(self) -> None:
        check_places(self, _PLACES)

    def words(self, named: str, sentence: str | None = None) -> str:
        """The second turn; with a quotation where there is a sentence."""
        if sentence is None:
            return fill(self.says_so, named=named)
        return fill(self.quoted, named=named, sentence=sentence)


@cache
def wording_in(language: str) -> DoubtWording:
    """The wording of one of rag.template's LANGUAGES."""
    assert language in LANGUAGES, language
    with as_file(files("experiments.rag_evaluation.wording") / f"{language}.toml") as path:
        return from_mapping(DoubtWording, load_toml(path), f"wording {language}")
