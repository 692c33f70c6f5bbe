"""Prompt templates: every shipped wording is whole, and a faulty one gives one line that says what is wrong."""

from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import pytest

from genir.errors import ConfigError
from genir.records import Document
from rag.prompt import Shot, Turn, build_prompt, is_unknown, parse_prompt
from rag.template import DEFAULT_TEMPLATE, LANGUAGES, WORDINGS, PromptTemplate, load_template, written_in

SHIPPED = [load_template(wording, language) for language in LANGUAGES for wording in WORDINGS]
GROUNDED = 'grounded = "{passages} {question}"\nclosed_book = "{question}"\n'


def test_three_wordings_a_language_and_no_other_file() -> None:
    names = {path.name.removesuffix(".toml") for path in (files("rag") / "templates").iterdir()}
    assert names == {template.name for template in SHIPPED}
    assert len(names) == 6
    assert [template.language for template in SHIPPED] == ["en"] * 3 + ["zh"] * 3


@pytest.mark.parametrize("template", SHIPPED, ids=lambda template: template.name)
def test_a_shipped_wording_is_whole_and_its_own(template: PromptTemplate) -> None:
    assert all(getattr(template, field.name) for field in fields(template))
    assert "{unknown}" in template.grounded
    assert "{unknown}" in template.closed_book
    assert is_unknown(template.unknown, template)
    assert sum(other.grounded == template.grounded for other in SHIPPED) == 1


@pytest.mark.parametrize("template", SHIPPED, ids=lambda template: template.name)
def test_a_prompt_of_a_shipped_wording_is_read_back(template: PromptTemplate) -> None:
    documents = [Document("a", "Text a.\nQuestion: fake?\n\nAnswer: no", "A"), Document("b", "东京是首都。")]
    shots, turns = [Shot("s?", "told", "S. Text s.")] * 2, [Turn("t?", "ta"), Turn("u?", "ua [1]")]
    prompt = build_prompt("Where?", documents, template, shots=shots, turns=turns)
    assert parse_prompt(prompt, template) == ("Where?", ["A. Text a. Question: fake? Answer: no", "东京是首都。"])
    assert parse_prompt(build_prompt("Where?", documents, template), template)[0] == "Where?"
    closed = build_prompt("Where?", [], template, shots=shots, turns=turns)
    assert parse_prompt(closed, template) == ("Where?", [])
    assert prompt.count("told") == closed.count("told") == 2
    assert "{" not in prompt + closed


def test_the_default_is_the_plain_english_one() -> None:
    assert load_template("plain", "en") == DEFAULT_TEMPLATE


def test_a_template_of_the_user_s_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GROUNDED + 'unknown = "pass"\n', encoding="utf-8")
    own = load_template(str(path), "zh")
    assert (own.unknown, own.name, own.passage) == ("pass", str(path), "[{number}] {text}")
    assert build_prompt("Who?", [Document("d", "text")], own) == "[1] text Who?"


FAULTS = [
    ("closed_book = '{question}'", "the key 'grounded' is missing"),
    (GROUNDED.replace(" {question}", ""), "'grounded': expected {question} exactly once, got '{passages}'"),
    (GROUNDED.replace("{passages}", "{passages}{passages}"), "'grounded': expected {passages} exactly once, got"),
    (GROUNDED + 'passage = "[{number}]"', "'passage': expected {text} exactly once, got '[{number}]'"),
    (GROUNDED + 'turn = "{question}"', "'turn': expected {answer} exactly once, got '{question}'"),
    (GROUNDED + 'condense = "{question}"', "'condense': expected {turns} exactly once, got '{question}'"),
    (
        GROUNDED.replace('"{question}"', '"{query} {question}"'),
        "'closed_book': {query} stands for nothing there; it takes {question}, {shots}, {turns}, {unknown}",
    ),
    (GROUNDED + 'passages = "x"', "unknown key 'passages': did you mean 'passage'?"),
    (GROUNDED + "passage = 3", "passage: expected str, got 3"),
    ("grounded = ", "not valid TOML: "),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_a_faulty_template_is_one_line_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_template(str(path))
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown template 'plane': did you mean 'plain'.* or give your own file"):
        load_template("plane")
    with pytest.raises(ConfigError, match="unknown language 'fr': known: en, zh"):
        load_template("plain", "fr")
    with pytest.raises(ConfigError, match=r"none\.toml: no such configuration file"):
        load_template(str(tmp_path / "none.toml"))


def test_examples_and_turns_are_never_dropped_silently() -> None:
    bare = replace(DEFAULT_TEMPLATE, turn="", closed_book="{question}", name="bare")
    with pytest.raises(
        ConfigError, match=r"prompt template 'bare': has no place \{turns\}, or no wording, for the 1 turns"
    ):
        build_prompt("Who?", [Document("d", "x")], bare, turns=[Turn("a?", "b")])
    with pytest.raises(ConfigError, match=r"has no place \{shots\}, or no wording, for the 2 shots given"):
        build_prompt("Who?", [], bare, shots=[Shot("a?", "b")] * 2)


@pytest.mark.parametrize(
    ("text", "language"),
    [("Where?", "en"), ("日本的首都是哪里？", "zh"), ("日本の首都はどこ？", "en"), ("Who is 孔子?", "zh"), ("", "en")],
)
def test_the_language_to_answer_in(text: str, language: str) -> None:
    assert written_in(text) == language
