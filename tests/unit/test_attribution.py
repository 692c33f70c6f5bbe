import pytest

from genir.records import Document
from rag.attribution import NO_ATTRIBUTION, attribute

HELIUM = Document("he", "Helium is a noble gas. Its symbol is He. Neon shares its group.", title="Helium")
NEON = Document("ne", "Neon glows red. Ne is its symbol.", title="Neon")


def test_the_citation_is_the_sentence_to_the_character() -> None:
    found = attribute("He", "What is the symbol of helium?", [NEON, HELIUM])
    assert found.citation is not None
    assert found.citation.doc_id == "he"
    assert HELIUM.text[found.citation.start : found.citation.end] == found.citation.text == "Its symbol is He."
    assert (found.support, found.passage) == (1.0, 1)


def test_of_two_sentences_with_the_answer_the_question_decides() -> None:
    text = "In 1869 a school opened. Dmitri Mendeleev published the periodic table in 1869."
    found = attribute("1869", "When was the periodic table published?", [Document("d", text)])
    assert found.citation is not None
    assert found.citation.text.startswith("Dmitri")


def test_a_run_beats_scattered_words_and_part_of_the_answer_is_part_support() -> None:
    scattered = Document("a", "York is older than the new town.")
    run = Document("b", "She moved to New York.")
    assert attribute("New York", "Where?", [scattered, run]).passage == 1
    assert attribute("Henry Cavendish", "Who?", [Document("c", "Cavendish found it.")]).support == 0.5


def test_chinese_sentences() -> None:
    document = Document("zh", "北京是中国的首都。上海是最大的城市。")
    found = attribute("上海", "中国最大的城市是哪里？", [document])
    assert found.citation is not None
    assert found.citation.text == "上海是最大的城市。"


def test_nothing_found_is_no_attribution() -> None:
    assert attribute("Xe", "Which gas?", [HELIUM]) == NO_ATTRIBUTION
    assert attribute("He", "?", []) == NO_ATTRIBUTION
    assert attribute("...", "?", [HELIUM]) == NO_ATTRIBUTION


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("the", "?"),
        ("We cannot find the shiny thing", "?"),  # shares "the" and "is" at most
        ("A noble gas called unobtainium", "Which noble gas is it?"),  # the rest is the question's
    ],
)
def test_a_stop_word_or_the_questions_own_is_no_attribution(said: str, question: str) -> None:
    passage = Document("he", "The symbol of the noble gas is He.")
    assert attribute(said, question, [passage]) == NO_ATTRIBUTION


def test_a_chinese_particle_is_no_attribution() -> None:
    assert attribute("他的", "谁？", [Document("zh", "北京是中国的首都。")]) == NO_ATTRIBUTION
