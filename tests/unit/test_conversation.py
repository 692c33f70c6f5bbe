"""A conversation becomes one question: by rules, and by a generator that is asked to rewrite it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from genir.errors import ConfigError
from genir.protocols import Generation, SamplingParams
from rag.conversation import MOST_ADDED, GeneratorCondenser, RuleCondenser, Turn
from rag.packing import count_words
from rag.template import LANGUAGES, WORDINGS, load_template

NORWAY = Turn("What is the capital of Norway?", "Oslo")


class Rewriter:
    """Replies with one text, and keeps the prompts."""

    name = "rewriter"

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.prompts: list[str] = []

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        self.prompts += prompts
        return [Generation(self.reply) for _ in prompts]

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        yield self.reply


def test_by_rules_the_missing_words_stand_behind_the_question() -> None:
    questions = ["How many people live there?", "What is the capital of Peru?", "How many people live there?"]
    assert RuleCondenser().condense(questions, [[NORWAY], [NORWAY], []]) == [
        "How many people live there? (Norway; Oslo)",
        "What is the capital of Peru?",
        "How many people live there?",
    ]


def test_what_the_question_says_itself_is_not_added_and_the_rest_is_bounded() -> None:
    [condensed] = RuleCondenser().condense(["Is it larger than Oslo?"], [[NORWAY]])
    assert condensed == "Is it larger than Oslo? (Norway)"
    long = Turn("Where are " + ", ".join(f"Town {i}" for i in range(100)) + "?", "?")
    [condensed] = RuleCondenser().condense(["Where are they?"], [[long]])
    assert condensed.startswith("Where are they? (Town 0; Town 1")
    assert count_words(condensed) <= MOST_ADDED + count_words("Where are they?")


def test_a_generator_rewrites_what_has_earlier_turns() -> None:
    rewriter = Rewriter(" How many people\n live in Oslo? [1]")
    questions = ["How many people live there?", "Who was she?"]
    assert GeneratorCondenser(rewriter).condense(questions, [[NORWAY], []]) == [
        "How many people live in Oslo?",
        "Who was she?",
    ]
    [prompt] = rewriter.prompts
    assert "Question: What is the capital of Norway?\nAnswer: Oslo\n" in prompt
    assert prompt.endswith("Last question: How many people live there?\nRewritten question:")


@pytest.mark.parametrize("reply", ["", " \n", "I do not know", "[1]"])
def test_a_rewriter_that_writes_nothing_gives_way_to_the_rules(reply: str) -> None:
    condensed = GeneratorCondenser(Rewriter(reply)).condense(["Who lives there?"], [[NORWAY]])
    assert condensed == ["Who lives there? (Norway; Oslo)"]


def test_of_a_long_conversation_the_end_is_told() -> None:
    rewriter = Rewriter("x")
    turns = [Turn(f"Question {i} " + "word " * 50, f"answer {i}") for i in range(30)]
    GeneratorCondenser(rewriter).condense(["And then?"], [turns])
    assert "Question 29" in rewriter.prompts[0]
    assert "Question 0 " not in rewriter.prompts[0]
    assert count_words(rewriter.prompts[0]) < 500


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wording", WORDINGS)
def test_every_wording_can_ask_for_it(wording: str, language: str) -> None:
    rewriter = Rewriter("x")
    GeneratorCondenser(rewriter, load_template(wording, language)).condense(["Who lives there?"], [[NORWAY]])
    assert all(text in rewriter.prompts[0] for text in ("capital of Norway", "Oslo", "Who lives there?"))
    assert "{" not in rewriter.prompts[0]


def test_a_template_without_a_wording_for_it_says_so() -> None:
    bare = replace(load_template(), condense="", name="bare")
    with pytest.raises(ConfigError, match="prompt template bare: has no `condense` and `turn`, so it cannot reword"):
        GeneratorCondenser(Rewriter("x"), bare).condense(["Who?"], [[NORWAY]])
