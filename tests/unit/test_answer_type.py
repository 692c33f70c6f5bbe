import pytest

from rag.measures.answer_type import AnswerType, expected_type, is_of_another_type


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who built the tower?", "person"),
        ("By whom was it built?", "person"),
        ("When was it built?", "time"),
        ("In what year did it open?", "time"),
        ("The tower was built when?", "time"),
        ("How many people live there?", "number"),
        ("Which 17th century disaster did it survive?", None),
        ("When workers compete for jobs, it is considered as what?", None),
        ("What percentage of them voted?", "number"),
        ("How much did it cost?", "amount"),
        ("How long is the river?", "amount"),
        ("For how long did he rule?", "amount"),
        ("How old is she?", "amount"),
        ("How tall is he?", "amount"),
        ("How far is it from Oslo?", "amount"),
        ("How far did he march?", None),  # perhaps to a place
        ("How high is the tower?", "amount"),
        ("How big is the lake?", "amount"),
        ("How deep is the lake?", "amount"),
        ("How fast does it run?", "amount"),
        ("How heavy is it?", "amount"),
        ("How wide is the river?", "amount"),
        ("How long ago did it open?", "time"),
        ("How was it built?", None),
        ("Where is it?", "place"),
        ("From where did he come?", "place"),
        ("Which country won?", None),
        ("What is the year of the dragon about?", None),
        ("Why did it fall?", None),
        ("When Victoria died, who followed her?", None),  # two question words
        ("Who was king when the tower was built?", "person"),
        ("Name a gas.", None),
        ("", None),
        ("谁建造了铁塔？", "person"),
        ("這座塔是什麼時候建成的？", "time"),
        ("哪一年建成？", "time"),
        ("有多少人？", "number"),
        ("他有几个孩子？", "number"),
        ("这条河有多长？", "amount"),
        ("他多大？", "amount"),
        ("许多大学在哪里？", "place"),
        ("铁塔在哪里？", "place"),
        ("谁在什么时候建造了它？", None),
        ("为什么？", None),
    ],
)
def test_what_a_question_asks_for(question: str, expected: AnswerType | None) -> None:
    assert expected_type(question) == expected


@pytest.mark.parametrize(
    ("answer", "expected", "another"),
    [
        ("Gustave Eiffel", "person", False),
        ("in 1889", "person", True),
        ("12 March 1869", "person", True),
        ("1889", "place", True),
        ("Paris", "place", False),
        ("10 Downing Street", "place", False),
        ("Gustave Eiffel", "time", True),
        ("1889", "time", False),
        ("after the war", "time", False),
        ("five million", "number", False),
        ("none", "number", False),
        ("Paris", "number", True),
        ("Paris", "amount", True),
        ("Gustave Eiffel", "amount", True),
        ("$5", "amount", False),
        ("324 metres", "amount", False),
        ("half of it", "amount", False),
        ("until the war", "amount", False),
        ("very deep", "amount", False),
        ("巴黎", "amount", True),
        ("三百米", "amount", False),
        ("", "person", True),
        ("...", "number", True),
        ("一八八九年", "person", True),
        ("1889年3月", "place", True),
        ("埃菲尔", "person", False),
        ("埃菲尔", "time", True),
        ("第二次世界大战期间", "time", False),
        ("三百", "number", False),
        ("巴黎", "number", True),
    ],
)
def test_what_answers_another_kind_of_question(answer: str, expected: AnswerType, another: bool) -> None:
    assert is_of_another_type(answer, expected) is another
