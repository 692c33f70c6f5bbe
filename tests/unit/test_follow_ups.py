"""Which questions lean on what was said before, and what they take over from it."""

import pytest

from rag.follow_ups import content, handed_on, is_follow_up, names
from rag.prompt import Turn

TOWER = Turn("How tall is the Eiffel Tower?", "330 m")
NORWAY = Turn("What is the capital of Norway?", "Oslo")
HELIUM = Turn("What is the symbol of helium?", "He")


@pytest.mark.parametrize(
    "question",
    [
        "When was it built?",
        "Who lives there?",
        "And in Peru?",
        "What about South Korea?",
        "Why?",
        "What is their language?",
        "Which of these is the oldest?",
        "它是什么时候建成的？",
        "那日本呢？",
        "为什么？",
        "他出生在哪里？",
    ],
)
def test_follow_ups(question: str) -> None:
    assert is_follow_up(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Norway?",
        "Which country has Oslo as its capital?",
        "How many moons are there around Mars?",
        "What river that flows through Cairo is the longest?",
        "And what is the capital of Peru?",
        "日本的首都是哪里？",
        "那东京有多少人？",
        "其他国家有哪些？",
    ],
)
def test_questions_that_stand_by_themselves(question: str) -> None:
    assert not is_follow_up(question)
    assert handed_on(question, [TOWER]) == []


HANDED = [
    ("When was it built?", [TOWER], ["Eiffel Tower", "330"]),
    ("How many people live there?", [NORWAY], ["Norway", "Oslo"]),
    ("And in Peru?", [NORWAY], ["capital"]),
    ("And the population?", [NORWAY], ["capital", "Norway"]),
    ("When was it found?", [HELIUM], ["symbol", "helium", "He"]),
    ("Why?", [Turn("Why is the sky blue?", "I do not know")], ["sky", "blue"]),
    (
        "When was he born?",
        [Turn("Who discovered helium?", "Pierre Janssen [1]")],
        ["discovered", "helium", "Pierre Janssen"],
    ),
    (
        "Where is it?",
        [Turn("What is the Eiffel Tower?", "a lattice tower that was named after its engineer")],
        ["Eiffel Tower"],
    ),
    ("它有多高？", [Turn("埃菲尔铁塔在哪里？", "巴黎")], ["埃菲尔铁塔", "巴黎"]),
    ("那日本呢？", [Turn("法国的首都是哪里？", "巴黎")], ["法国", "首都"]),
]


@pytest.mark.parametrize(("question", "turns", "phrases"), HANDED)
def test_what_is_taken_over(question: str, turns: list[Turn], phrases: list[str]) -> None:
    assert handed_on(question, turns) == phrases


def test_a_follow_up_to_a_follow_up_hands_on_what_that_took_over() -> None:
    peru = Turn("And in Peru?", "Lima")
    assert handed_on("How many people live there?", [NORWAY, peru]) == ["Peru", "Lima", "capital"]
    whole = Turn("What is the capital of Peru?", "Lima")
    assert handed_on("How many people live there?", [NORWAY, whole]) == ["Peru", "Lima"]


def test_names_and_content_words() -> None:
    assert names("When did Marie Curie's father move to Paris, in 1902?") == ["Marie Curie", "Paris", "1902"]
    assert names("What is The Hague?") == ["Hague"]
    assert names("埃菲尔铁塔 Paris") == []
    assert content("What is the height of the Eiffel Tower?") == ["height", "Eiffel", "Tower"]
    assert content("氦的符号是什么？") == ["氦", "符号"]
