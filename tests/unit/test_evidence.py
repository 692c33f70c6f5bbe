"""The sentence selector: learns which wording answers which question, and knows one entity from another."""

from pathlib import Path

import pytest

from genir.errors import ArtefactError, DataError
from genir.records import Document
from rag.small_reader.data import Article
from rag.small_reader.evidence import SentenceSelector

METALS = ["iron", "tin", "zinc", "gold", "lead", "copper", "nickel", "cobalt", "silver", "mercury", "radium", "cerium"]
ARTICLES = [
    Article(
        name.capitalize(),
        f"Chemists write {name[:2].upper()} for {name}. The discovery of {name} goes back to {1700 + i}.",
        (
            (f"What is the symbol of {name}?", name[:2].upper()),
            (f"Which abbreviation stands for {name}?", name[:2].upper()),
            (f"When was {name} found?", str(1700 + i)),
            (f"In which year did people first see {name}?", str(1700 + i)),
        ),
    )
    for i, name in enumerate(METALS)
]


@pytest.fixture(scope="module")
def selector() -> SentenceSelector:
    return SentenceSelector().fit(ARTICLES)


def passage(name: str) -> Document:
    text = f"Chemists write Xx for {name}. The discovery of {name} goes back to 1888."
    return Document(name, text, title=name.capitalize())


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("What is the symbol of osmium?", "Chemists write Xx for osmium."),
        ("Which abbreviation stands for osmium?", "Chemists write Xx for osmium."),
        ("In which year did people first see osmium?", "The discovery of osmium goes back to 1888."),
    ],
)
def test_it_finds_the_answering_sentence_of_an_entity_it_never_saw(
    selector: SentenceSelector, question: str, sentence: str
) -> None:
    passages = [passage("thorium"), passage("osmium")]
    found = selector.best(question, passages)
    assert found is not None
    assert found.passage == 1
    assert passages[1].text[found.start : found.end] == sentence
    assert found.probability > 0.5


def test_another_entity_and_another_matter_are_less_likely(selector: SentenceSelector) -> None:
    question = "What is the symbol of osmium?"
    right, other = (selector.best(question, [passage(name)]) for name in ("osmium", "thorium"))
    off = selector.best(question, [Document("d", "The discovery of osmium goes back to 1888.", title="Osmium")])
    assert right is not None
    assert other is not None
    assert off is not None
    assert right.probability > max(other.probability, off.probability)


def test_no_sentence_no_evidence(selector: SentenceSelector) -> None:
    assert selector.best("What is the symbol of osmium?", [Document("d", "", title="Osmium")]) is None


def test_save_and_load_are_symmetric(selector: SentenceSelector, tmp_path: Path) -> None:
    selector.save(tmp_path)
    loaded = SentenceSelector.load(tmp_path)
    question = "What is the symbol of osmium?"
    assert loaded.best(question, [passage("osmium")]) == selector.best(question, [passage("osmium")])


def test_a_missing_selector_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no evidence selector that can be read"):
        SentenceSelector.load(tmp_path)


def test_nothing_to_learn_from_says_so() -> None:
    with pytest.raises(DataError, match="no question has its answer in just one sentence"):
        SentenceSelector().fit([Article("a", "Some text.", (("Who?", "nobody"),))])
