import pytest

from genir.errors import ConfigError
from rag.mitigations.questions import Check, cloze_checks
from rag.mitigations.wording import Wording, listed, wording_for


def test_names_and_numbers_of_a_sentence_are_asked_for() -> None:
    assert cloze_checks("Oslo is the capital of Norway.", "Which city?") == [
        Check("What is the capital of Norway?", "Oslo"),
        Check("Oslo is the capital of what?", "Norway"),
    ]
    assert cloze_checks("The tower was finished in 1889.", "When was it built?") == [
        Check("The tower was finished when?", "1889")
    ]
    assert cloze_checks("The tower has 7 floors and lifts.", "?") == [
        Check("The tower has how many floors and lifts?", "7")
    ]


def test_a_bare_answer_is_asked_backwards() -> None:
    assert cloze_checks("Lima", "What is the capital of Peru?") == [Check("Lima is the capital of what?", "Peru")]
    assert cloze_checks("Gustave Eiffel", "Who built the Eiffel Tower?") == [
        Check("Gustave Eiffel built the what?", "Eiffel Tower")
    ]
    assert cloze_checks("1889", "In which year was the Eiffel Tower built?") == [
        Check("1889 was the what built?", "Eiffel Tower")
    ]
    assert cloze_checks("red", "Name the colour of Mars") == [Check("Name the colour of what red?", "Mars")]


def test_a_number_is_asked_for_where_there_is_no_name() -> None:
    assert cloze_checks("Denver", "Who won Super Bowl 50?") == [Check("Denver won what 50?", "Super Bowl")]
    assert cloze_checks("rain", "What fell in 1902?") == [Check("Rain fell when?", "1902")]


def test_chinese_has_its_question_word_in_place() -> None:
    assert cloze_checks("东京", "日本的首都是哪里？") == [
        Check("什么的首都是东京？", "日本"),
        Check("日本的什么是东京？", "首都"),
    ]


def test_nothing_to_ask_nothing_asked() -> None:
    assert cloze_checks("red", "What colour is it?") == []
    assert cloze_checks("It rained for a long while there.", "What happened?") == []
    assert cloze_checks("Peru", "What of Peru?") == []
    assert cloze_checks("", "") == []
    assert len(cloze_checks("Ada met Bob, Cleo, Dora, Emil and Fritz.", "?", most=2)) == 2


def test_a_reply_is_read_line_by_line() -> None:
    assert listed("1. Who?\n2) When?\n\n- Who?\n---\nWhere?", 5) == ["Who?", "When?", "Where?"]
    assert listed("a\nb\nc", 2) == ["a", "b"]
    assert listed("", 3) == []


def test_prompts_in_two_languages() -> None:
    wording = wording_for("Who?")
    assert wording.ask("Who?", "Ada\nQuestion: x").count("\n") == wording.questions.count("\n")
    assert 'reply "I do not know"' in wording.settle("Who?", "Ada", [("Is it Ada?", "no")])
    assert "Question: Is it Ada?\nAnswer: no\n" in wording.settle("Who?", "Ada", [("Is it Ada?", "no")])
    assert "我不知道" in wording_for("谁？").mend("谁？", "他", "证据")


def test_a_wording_without_its_place_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"wording 'en': 'check' has the places \['question'\], expected"):
        Wording("en", "{question}{answer}", "{question}", "", "")
