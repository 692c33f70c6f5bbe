import pytest

from rag.measures.hallucination import fact_conflicting
from rag.measures.negation import asserted, stretches


@pytest.mark.parametrize(
    ("sentence", "gold"),
    [
        ("The capital is Paris, not Rome.", "Paris"),
        ("The capital isn't Rome; it's Paris.", "Paris"),
        ("The capital is not Paris but Lyon.", "Lyon"),
        ("It was not until 1889.", "1889"),
        ("It was not completed until 1889.", "1889"),
        ("Until 1889 it was not finished.", "1889"),
        ("It was finished no later than 1889.", "1889"),
        ("It has not only Rome in it, but also Paris.", "Rome"),
        ("There is nothing but sand.", "sand"),
        ("It was none other than Eiffel.", "Eiffel"),
        ("It was no doubt Eiffel.", "Eiffel"),
        ("Without a doubt, it was Eiffel.", "Eiffel"),
        ("No, it was Paris.", "Paris"),
        ("It is false that the earth is flat.", "false"),
        ("Paris rather than Rome.", "Paris"),
        ("It was Eiffel who did not live to see it.", "Eiffel"),
        ("It was built by Eiffel and not by Koechlin.", "Eiffel"),
        ("Chanel No. 5 is its name.", "5"),
        ("It is a not-for-profit body of 1889.", "1889"),
        ("首都是巴黎，不是罗马。", "巴黎"),
        ("首都是巴黎不是罗马。", "巴黎"),
        ("首都不是巴黎而是里昂。", "里昂"),
        ("直到1889年都没有建成。", "1889年"),
        ("不仅在罗马，也在巴黎。", "罗马"),
        ("不迟于1889年。", "1889年"),
        ("在非洲的无锡，1889年。", "1889年"),
    ],
)
def test_right_sentences_may_hold_a_negation(sentence: str, gold: str) -> None:
    assert not fact_conflicting(sentence, [gold], "")


@pytest.mark.parametrize(
    ("sentence", "gold"),
    [
        ("It is not Paris.", "Paris"),
        ("It isn’t Paris.", "Paris"),
        ("It's probably not in Paris.", "Paris"),
        ("The capital is not Paris but Lyon.", "Paris"),
        ("Paris is not the capital.", "Paris"),
        ("Paris was never the capital.", "Paris"),
        ("Paris is no capital.", "Paris"),
        ("Rome, not Paris.", "Paris"),
        ("Rome rather than Paris.", "Paris"),
        ("It is not true that Paris is the capital.", "Paris"),
        ("Neither Eiffel nor Koechlin built it.", "Koechlin"),
        ("It was built without Eiffel.", "Eiffel"),
        ("It was not built in 1889.", "1889"),
        ("It cannot be 1889.", "1889"),
        ("Nobody from Paris came.", "Paris"),
        ("首都不是巴黎而是里昂。", "巴黎"),
        ("巴黎并不是首都。", "巴黎"),
        ("他没有去巴黎。", "巴黎"),
        ("不是上海、北京。", "北京"),
    ],
)
def test_a_sentence_that_denies_the_answer_conflicts(sentence: str, gold: str) -> None:
    assert fact_conflicting(sentence, [gold], "")


def test_a_negated_verb_echoes_a_question_that_negates() -> None:
    assert not fact_conflicting("Sweden did not join.", ["Sweden"], "Which state did not join?")
    assert fact_conflicting("Sweden did not join.", ["Sweden"], "Which state joined?")
    assert fact_conflicting("It was not Sweden.", ["Sweden"], "Which state did not join?")
    assert not fact_conflicting("瑞典没有加入。", ["瑞典"], "哪个国家没有加入？")
    assert fact_conflicting("不是瑞典。", ["瑞典"], "哪个国家没有加入？")


@pytest.mark.parametrize(
    ("sentence", "gold", "conflicts"),
    [
        ("The capital is not Lyon, Paris or Rome.", "Paris", False),
        ("Paris, however, is not the capital.", "Paris", False),
        ("It is anything but Paris.", "Paris", False),
        ("It is false that Paris is the capital.", "Paris", False),
        ("Paris is wrong.", "Paris", False),
        ("The tower of 1889 was not popular.", "1889", True),
        ("Dr. No met Bond.", "Bond", True),
    ],
)
def test_known_gaps(sentence: str, gold: str, conflicts: bool) -> None:
    assert fact_conflicting(sentence, [gold], "") is conflicts


@pytest.mark.parametrize("text", ["", "Paris", "It is Paris, not Rome, but not Oslo.", "不是上海，是北京", "not"])
def test_the_stretches_are_the_text(text: str) -> None:
    assert "".join(one.text for one in stretches(text)) == text


def test_what_is_asserted() -> None:
    assert asserted("1889, not 1887, in Paris") == "1889,  , in Paris"
    assert asserted("Paris is not the capital.") == " "
