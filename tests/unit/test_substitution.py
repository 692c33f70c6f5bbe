"""Follow-up questions made whole: the name in its place, a name for its pronoun; None where two readings are possible."""

import pytest

from rag.prompt import Turn
from rag.substitution import whole

Case = tuple[str, list[tuple[str, str]], str | None]

PARTS: list[Case] = [
    ("And of Peru?", [("What is the capital of Norway?", "Oslo")], "What is the capital of Peru?"),
    ("And Peru?", [("What is the capital of Norway?", "Oslo")], "What is the capital of Peru?"),
    ("What about Peru?", [("What is the capital of Norway?", "Oslo")], "What is the capital of Peru?"),
    ("And what about Peru?", [("What is the capital of Norway?", "Oslo")], "What is the capital of Peru?"),
    ("How about South Korea?", [("What is the capital of Norway?", "Oslo")], "What is the capital of South Korea?"),
    ("And in Peru?", [("What is the capital of Norway?", "Oslo")], "What is the capital of Peru?"),
    ("And Peru's?", [("What is Norway's capital?", "Oslo")], "What is Peru's capital?"),
    ("And Peru?", [("What is Norway's capital?", "Oslo")], "What is Peru's capital?"),
    ("And of the Gambia?", [("What is the capital of Norway?", "Oslo")], "What is the capital of the Gambia?"),
    (
        "And of Peru?",
        [("What is the capital of the Democratic Republic of the Congo?", "Kinshasa")],
        "What is the capital of Peru?",
    ),
    (
        "And of Trinidad and Tobago?",
        [("What is the capital of Norway?", "Oslo")],
        "What is the capital of Trinidad and Tobago?",
    ),
    (
        "And of Chile?",
        [("What is the capital of Norway?", "Oslo"), ("And of Peru?", "Lima")],
        "What is the capital of Chile?",
    ),
    (
        "And Peru?",
        [("Into which body of water does the Thames flow?", "North Sea")],
        "Into which body of water does Peru flow?",
    ),
    (
        "And the Nile?",
        [("Into which body of water does the Thames flow?", "North Sea")],
        "Into which body of water does the Nile flow?",
    ),
    ("And The Hobbit?", [("Who is the author of The Alchemist?", "Paulo Coelho")], "Who is the author of The Hobbit?"),
    (
        "And of Gone with the Wind?",
        [("Who is the author of The Alchemist?", "Paulo Coelho")],
        "Who is the author of Gone with the Wind?",
    ),
    ("And of neon?", [("What is the symbol of helium?", "He")], "What is the symbol of neon?"),
    ("What about neon?", [("What is the symbol of helium?", "He")], "What is the symbol of neon?"),
    ("And of Neon?", [("What is the symbol of Helium?", "He")], "What is the symbol of Neon?"),
    ("And the mass?", [("What is the symbol of helium?", "He")], "What is the mass of helium?"),
    ("And the population?", [("What is the capital of Norway?", "Oslo")], "What is the population of Norway?"),
    ("And the population?", [("What is the capital of Norway?", "I do not know")], "What is the population of Norway?"),
    ("And its currency?", [("What is the area of Norway?", "385,207 km²")], "What is the currency of Norway?"),
    ("And the currency of Peru?", [("What is the capital of Norway?", "Oslo")], "What is the currency of Peru?"),
    ("And Peru's currency?", [("What is the capital of Norway?", "Oslo")], "What is Peru's currency?"),
    (
        "And Mars?",
        [("Who discovered the moon of the planet Jupiter?", "Galileo Galilei")],
        "Who discovered the moon of the planet Mars?",
    ),
    ("And to Rome?", [("How far is it from London to Paris?", "340 km")], "How far is it from London to Rome?"),
    ("And in 1990?", [("Who was president of Peru in 1980?", "X")], "Who was president of Peru in 1990?"),
    ("And of Chile?", [("Who was president of Peru in 1980?", "X")], "Who was president of Chile in 1980?"),
    ("And Chile?", [("Who was president of Peru in 1980?", "X")], "Who was president of Chile in 1980?"),
    ("And Makalu?", [("Lhotse is a peak of which range?", "Himalayas")], "Makalu is a peak of which range?"),
    (
        "And Hamburg?",
        [("Which city counts the Gateway Arch among its sights?", "St. Louis")],
        "Which city counts Hamburg among its sights?",
    ),
    ("And St. Louis?", [("What river is in New Orleans?", "Mississippi")], "What river is in St. Louis?"),
    ("And Oslo?", [("What is in St. Louis?", "Gateway")], "What is in Oslo?"),
]
PRONOUNS: list[Case] = [
    ("What is its currency?", [("What is the area of Norway?", "385,207 km²")], "What is the currency of Norway?"),
    ("And its currency?", [("Which continent does Norway belong to?", "Europe")], "What is the currency of Norway?"),
    ("When was she born?", [("Who wrote Beloved?", "Toni Morrison")], "When was Toni Morrison born?"),
    ("When was it published?", [("Who wrote Beloved?", "Toni Morrison")], "When was Beloved published?"),
    ("When was he born?", [("Who discovered helium?", "Pierre Janssen [1]")], "When was Pierre Janssen born?"),
    ("Where did she die?", [("When was Marie Curie born?", "1867")], "Where did Marie Curie die?"),
    ("What was her field?", [("When was Marie Curie born?", "1867")], "What was Marie Curie's field?"),
    ("Who taught her?", [("When was Marie Curie born?", "1867")], "Who taught Marie Curie?"),
    ("When was it built?", [("How tall is the Eiffel Tower?", "330 m")], "When was the Eiffel Tower built?"),
    ("How tall is it?", [("Where is the Eiffel Tower?", "Paris")], "How tall is the Eiffel Tower?"),
    ("How many people live there?", [("Where is the Eiffel Tower?", "Paris")], "How many people live in Paris?"),
    ("Are there any rivers in it?", [("What is the area of Norway?", "385 km")], "Are there any rivers in Norway?"),
    ("Is it larger than Oslo?", [("How large is Bergen?", "1")], "Is Bergen larger than Oslo?"),
    (
        "When did he die?",
        [("In which town did Immanuel Kant come into the world?", "Königsberg")],
        "When did Immanuel Kant die?",
    ),
    ("What is the capital of Peru?", [("What is the capital of Norway?", "Oslo")], "What is the capital of Peru?"),
]
NOT_SURE: list[Case] = [
    ("And its population?", [("What is the capital of Norway?", "Oslo")], None),
    ("And its currency?", [("How many people live in Norway?", "5 million")], None),
    ("And to Paris?", [("How far is it from London?", "1 km")], None),
    ("And Rome?", [("How far is it from London to Paris?", "340 km")], None),
    ("Where was he born?", [("When did Marie Curie's father die?", "1902")], None),
    ("When did she die?", [("When was the author of Beloved born?", "1931")], None),
    ("How many people live there?", [("What is the capital of Norway?", "Oslo")], None),
    ("How large is it?", [("What is the capital of Norway?", "Oslo")], None),
    ("Where is it?", [("How high is the highest mountain of Japan?", "3776 m")], None),
    ("When did he marry her?", [("When was Marie Curie born?", "1867")], None),
    ("When was he born?", [("Which composer is behind the opera Elektra?", "Richard Strauss")], None),
    ("Why?", [("What is the capital of Norway?", "Oslo")], None),
    ("And then?", [("What is the capital of Norway?", "Oslo")], None),
    ("And why is that?", [("What is the capital of Norway?", "Oslo")], None),
    ("When was that?", [("When was Marie Curie born?", "1867")], None),
]
CHINESE: list[Case] = [
    ("那秘鲁呢？", [("挪威的首都是哪里？", "奥斯陆")], "秘鲁的首都是哪里？"),
    ("秘鲁呢？", [("挪威的首都是哪里？", "奥斯陆")], "秘鲁的首都是哪里？"),
    ("那日本呢？", [("法国的首都是哪里？", "巴黎"), ("那德国呢？", "柏林")], "日本的首都是哪里？"),
    ("那货币呢？", [("挪威的首都是哪里？", "奥斯陆")], "挪威的货币是什么？"),
    ("那秘鲁的货币呢？", [("挪威的首都是哪里？", "奥斯陆")], "秘鲁的货币是什么？"),
    ("那大本钟呢？", [("埃菲尔铁塔在哪里？", "巴黎")], "大本钟在哪里？"),
    ("它有多高？", [("埃菲尔铁塔在哪里？", "巴黎")], "埃菲尔铁塔有多高？"),
    ("那里有多少人？", [("埃菲尔铁塔在哪里？", "巴黎")], "巴黎有多少人？"),
    ("它有多少人口？", [("挪威的首都是哪里？", "奥斯陆")], None),
    ("那《三国演义》呢？", [("谁写了《红楼梦》？", "曹雪芹")], "谁写了《三国演义》？"),
    ("他出生在哪里？", [("谁写了《呐喊》？", "鲁迅")], "鲁迅出生在哪里？"),
    ("它是什么时候出版的？", [("谁写了《呐喊》？", "鲁迅")], "《呐喊》是什么时候出版的？"),
    ("那电视呢？", [("谁发明了电话？", "贝尔")], "谁发明了电视？"),
    ("那电视呢？", [("发明电话的人是谁？", "贝尔")], None),
    ("那电视呢？", [("发明电话的是谁？", "贝尔")], None),
    ("为什么？", [("挪威的首都是哪里？", "奥斯陆")], None),
    ("那氖呢？", [("氦的符号是什么？", "He")], "氖的符号是什么？"),
    ("她是什么时候去世的？", [("居里夫人出生于哪一年？", "1867")], "居里夫人是什么时候去世的？"),
]


@pytest.mark.parametrize(("question", "turns", "made"), PARTS + PRONOUNS + NOT_SURE + CHINESE)
def test_follow_ups(question: str, turns: list[tuple[str, str]], made: str | None) -> None:
    assert whole(question, [Turn(*turn) for turn in turns]) == made


def test_a_question_alone_is_itself() -> None:
    assert whole(" And  of Peru? ", []) == "And of Peru?"


def test_a_long_conversation_of_parts() -> None:
    turns = [Turn("What is the capital of Norway?", "Oslo"), *[Turn("And of Peru?", "Lima")] * 2000]
    assert whole("And of Chile?", turns) == "What is the capital of Chile?"
    assert whole("And then?", turns) is None
