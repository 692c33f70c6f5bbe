"""Tables of facts and their wordings -> checked rows.

A kind is one `facts/<kind>.tsv` (what is true) with one `wording/<kind>.toml` (how to say and ask it); README.md
gives the format. Invariants of what `load_tables` returns: names, names in sentences and doc_ids are unique in the
whole atlas; every attribute has at least one sentence and one question; placeholders are the known ones and stand
where they must.
Known gap: nothing here can tell whether a fact is true.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from genir.errors import DataError

MIN_ATTRIBUTES = 2  # below this an article would have fewer than three sentences
_PLACEHOLDERS = {"name", "value", "it"}
_LETTERS = {"ø": "o", "ł": "l", "ß": "ss", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "ð": "d", "þ": "th"}
_SIGNS = {"+": " plus", "#": " sharp", "'": "", "’": ""}
_TO_ASCII = str.maketrans(_LETTERS | _SIGNS)  # what Unicode's decomposition leaves to us


@dataclass(frozen=True, slots=True)
class AttributeWording:
    """How one attribute is said and asked.

    `reverse` asks for the name, given the value; `refers_to` tells the kinds that its values name. Either may be empty.
    """

    label: str
    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    reverse: tuple[str, ...] = ()
    refers_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wording:
    """How one kind is put into words; `noun` says what one row is."""

    noun: str
    attributes: Mapping[str, AttributeWording]

    @property
    def head(self) -> str:
        """The word that matters in the noun: "unit" of "unit of measurement", "element" of "chemical element"."""
        return self.noun.split(" of ")[0].split()[-1].lower()


@dataclass(frozen=True, slots=True)
class Row:
    """One entity. `values` holds the filled cells only: attribute -> accepted answers, the stated one first."""

    doc_id: str
    kind: str
    name: str
    mention: str  # the name as it stands inside a sentence, e.g. "the Netherlands"
    values: Mapping[str, tuple[str, ...]]
    where: str  # file:line, for messages

    @property
    def base_name(self) -> str:
        """The name without its disambiguation: "Mercury (planet)" -> "Mercury"."""
        return _without_parenthesis(self.name)

    @property
    def forms(self) -> tuple[str, ...]:
        """Every distinct form of the name that an answer or another row's cell may hold."""
        return tuple(dict.fromkeys((self.base_name, self.mention, self.mention.removeprefix("the "), self.name)))


@dataclass(frozen=True, slots=True)
class Kind:
    """One table with its wording."""

    name: str
    wording: Wording
    rows: tuple[Row, ...]


def load_tables(tables: Path | None = None) -> tuple[Kind, ...]:
    """All kinds under `tables` (folders `facts` and `wording`), by name; the package's own tables for None.

    Raises DataError with file:line for whatever breaks an invariant.
    """
    root: Traversable = files("experiments.atlas") if tables is None else tables
    facts = _files(root / "facts", ".tsv")
    wordings = _files(root / "wording", ".toml")
    if not facts:
        raise DataError(f"{root / 'facts'}: no .tsv file; expected one table of facts for each kind")
    for name in sorted(set(facts) ^ set(wordings)):
        lone, missing = (facts, "wording/{}.toml") if name in facts else (wordings, "facts/{}.tsv")
        raise DataError(f"{lone[name]}: has no {missing.format(name)} beside it")
    kinds = tuple(_load_kind(name, facts[name], wordings[name]) for name in sorted(facts))
    _check_references(kinds, wordings)
    _check_unique(row for kind in kinds for row in kind.rows)
    return kinds


def doc_id_of(kind: str, name: str) -> str:
    """ "country/ivory-coast": ASCII, lower case; a disambiguation that only repeats the kind is left out."""
    if name.endswith(f" ({kind})"):
        name = _without_parenthesis(name)
    plain = unicodedata.normalize("NFKD", name.lower().translate(_TO_ASCII)).encode("ascii", "ignore").decode()
    return f"{kind}/{'-'.join(re.findall(r'[a-z0-9]+', plain))}"


def _without_parenthesis(name: str) -> str:
    return re.sub(r" \([^)]*\)$", "", name)


def _files(folder: Traversable, suffix: str) -> dict[str, Traversable]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of tables")
    return {file.name.removesuffix(suffix): file for file in folder.iterdir() if file.name.endswith(suffix)}


def _read(file: Traversable) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{file}:{line}: not UTF-8: {error.reason}") from None


def _load_kind(name: str, facts: Traversable, wording_file: Traversable) -> Kind:
    wording = _load_wording(wording_file)
    lines = _read(facts).split("\n")
    header = lines[0].split("\t")
    attributes = [column for column in header[1:] if column != "article_name"]
    if header[0] != "name" or len(set(header)) < len(header):
        raise DataError(f"{facts}:1: expected distinct columns beginning with 'name', got {header}")
    for attribute in attributes:
        if attribute not in wording.attributes:
            raise DataError(f"{facts}:1: attribute {attribute!r} has no [attributes.{attribute}] in {wording_file}")
    for attribute in wording.attributes:
        if attribute not in attributes:
            line = _line_of(_read(wording_file), f"[attributes.{attribute}]")
            raise DataError(f"{wording_file}:{line}: no column {attribute!r} in {facts}")
    body = lines[1:-1] if lines[-1] == "" else lines[1:]
    rows = tuple(_load_row(name, header, line, f"{facts}:{number}") for number, line in enumerate(body, start=2))
    return Kind(name, wording, rows)


def _load_row(kind: str, header: Sequence[str], line: str, where: str) -> Row:
    cells = line.split("\t")
    if len(cells) != len(header):
        raise DataError(f"{where}: expected {len(header)} tab-separated fields, got {len(cells)}")
    values: dict[str, tuple[str, ...]] = {}
    for column, cell in zip(header, cells, strict=True):
        accepted = tuple(cell.split("|"))
        if cell and any(value != " ".join(value.split()) or not value for value in accepted):
            raise DataError(f"{where}: {column}: empty or badly spaced value in {cell!r}")
        if cell:
            values[column] = accepted
    if "name" not in values:
        raise DataError(f"{where}: the name is empty")
    name, mention = cells[0], values.pop("article_name", (cells[0],))[0]
    del values["name"]
    if len(values) < MIN_ATTRIBUTES:
        raise DataError(f"{where}: {name}: {len(values)} filled attributes, expected at least {MIN_ATTRIBUTES}")
    return Row(doc_id_of(kind, name), kind, name, mention, values, where)


def _check_references(kinds: Sequence[Kind], wordings: Mapping[str, Traversable]) -> None:
    for kind in kinds:
        for attribute, wording in kind.wording.attributes.items():
            for unknown in set(wording.refers_to) - set(wordings):
                file = wordings[kind.name]
                line = _line_of(_read(file), f"[attributes.{attribute}]")
                raise DataError(f"{file}:{line}: refers_to {unknown!r}, which is no kind of the atlas")


def _check_unique(rows: Iterator[Row]) -> None:
    seen: dict[tuple[str, str], Row] = {}
    for row in rows:
        # Case counts in a sentence: "the leopard" is an animal, "The Leopard" a novel.
        for what, key in (("name", row.name.casefold()), ("name in a sentence", row.mention), ("doc_id", row.doc_id)):
            other = seen.setdefault((what, key), row)
            if other is not row:
                raise DataError(f"{row.where}: duplicate {what} {key!r}, first at {other.where}")


def _load_wording(file: Traversable) -> Wording:
    text = _read(file)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{file}: not valid TOML: {error}") from None
    _check_keys(file, 1, table, required={"noun", "attributes"}, optional=set())
    attributes: dict[str, AttributeWording] = {}
    asked: dict[str, str] = {}
    for attribute, entry in table["attributes"].items():
        line = _line_of(text, f"[attributes.{attribute}]")
        _check_keys(file, line, entry, required={"label", "sentences", "questions"}, optional={"reverse", "refers_to"})
        wording = AttributeWording(
            entry["label"],
            tuple(entry["sentences"]),
            tuple(entry["questions"]),
            tuple(entry.get("reverse", ())),
            tuple(entry.get("refers_to", ())),
        )
        _check_placeholders(file, text, line, wording)
        for question in (*wording.questions, *wording.reverse):
            if question in asked:
                at = _line_of(text, question, line)
                raise DataError(f"{file}:{at}: question already used for {asked[question]!r}: {question!r}")
            asked[question] = attribute
        attributes[attribute] = wording
    return Wording(table["noun"], attributes)


def _check_keys(file: Traversable, line: int, table: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    for key in sorted(required - set(table)):
        raise DataError(f"{file}:{line}: {key!r} is missing")
    for key in sorted(set(table) - required - optional):
        raise DataError(f"{file}:{line}: unknown key {key!r}; known: {', '.join(sorted(required | optional))}")


def _check_placeholders(file: Traversable, text: str, line: int, wording: AttributeWording) -> None:
    if not wording.sentences or not wording.questions:
        raise DataError(f"{file}:{line}: needs at least one sentence and one question")
    _check_templates(file, text, line, "sentence", wording.sentences, {"value"}, set())
    _check_templates(file, text, line, "question", wording.questions, {"name"}, {"value", "it"})
    _check_templates(file, text, line, "reverse question", wording.reverse, {"value"}, {"name", "it"})


def _check_templates(
    file: Traversable, text: str, line: int, what: str, templates: Sequence[str], needed: set[str], banned: set[str]
) -> None:
    for template in templates:
        found = set(re.findall(r"\{([^{}]*)\}", template))
        where = f"{file}:{_line_of(text, template, line)}"
        if missing := needed - found:
            raise DataError(f"{where}: {what} without {{{missing.pop()}}}: {template!r}")
        if what == "sentence" and not found & {"name", "it"}:
            raise DataError(f"{where}: {what} without {{name}} or {{it}}: {template!r}")
        if extra := (found & banned) | (found - _PLACEHOLDERS):
            raise DataError(f"{where}: {what} must not hold {{{extra.pop()}}}: {template!r}")


def _line_of(text: str, part: str, at_least: int = 1) -> int:
    """The first line from `at_least` on that holds `part` (perhaps with TOML's escaped quotes), else `at_least`."""
    for number, line in enumerate(text.split("\n"), start=1):
        if number >= at_least and (part in line or part.replace('"', '\\"') in line):
            return number
    return at_least
