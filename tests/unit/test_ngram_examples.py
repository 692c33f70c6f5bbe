"""From texts with documents to texts with n-grams: which are sampled, how often, and what they are numbered by."""

import numpy as np
import pytest

from docids.ngram import NgramScheme, NgramTable
from experiments.training.ngram_examples import NgramConfig, ngram_examples
from genir.errors import ConfigError
from genir.records import Document
from genir.training import Example
from retrievers.ngram import NgramSettings
from tests.tiny_text_models import save_byte_tokenizer

CORPUS = (
    Document("a", "abcdefghijklmnopqrstuvwxyz" * 3 + "0123456789", "Alphabet"),
    Document("b", "abcdefghijklmnopqrstuvwxyz" * 2),
    Document("short", "xy"),
)
LENGTH = 5


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> NgramTable:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_byte_tokenizer(folder, eos_token="[SEP]")
    return NgramScheme(str(folder)).assign(CORPUS)


def example(table: NgramTable, doc_id: str, text: str, kind: str = "query", weight: float = 1.0) -> Example:
    return Example(text, table.documents.identifiers().index(table.tokens_of(doc_id)), kind, weight)


def config(spans: int = 4, titles: bool = True, seed: int = 0) -> NgramConfig:
    return NgramConfig(spans, titles, seed=seed, search=NgramSettings(max_length=LENGTH))


def test_every_target_is_an_ngram_of_the_document(table: NgramTable) -> None:
    given = [example(table, doc_id, f"text {doc_id}", weight=0.5) for doc_id in ("a", "b", "short") for _ in range(3)]
    made, ngrams = ngram_examples(given, table, config())
    assert ngrams == sorted(set(ngrams))
    assert {one.target for one in made} == set(range(len(ngrams)))
    for one in made:
        assert one.text.removeprefix("text ") in table.documents_of(ngrams[one.target])
        assert (one.kind, one.weight) == ("query", 0.5)
        assert len(ngrams[one.target]) == (2 if one.text == "text short" else LENGTH)
    assert [one.text for one in made] == sorted(one.text for one in made)  # the order of the texts
    assert sum(one.text == "text short" for one in made) == 3  # its only n-gram, once for each text


def test_queries_are_taught_what_they_share_and_passages_anything(table: NgramTable) -> None:
    digits = set(table.tokens_of("a")[-10:])

    def about_digits(kind: str) -> float:
        made, ngrams = ngram_examples([example(table, "a", "4567", kind)] * 30, table, config(titles=False))
        return float(np.mean([bool(digits & set(ngrams[one.target])) for one in made]))

    assert about_digits("query") == 1.0  # the alphabet stands in other documents, too
    assert about_digits("passage") < 0.5


def test_titles_are_taught_with_their_mark_unless_not_wanted(table: NgramTable) -> None:
    given = [example(table, "a", "x"), example(table, "b", "x")]
    made, ngrams = ngram_examples(given, table, config())
    title = table.title_of("a")[:LENGTH]
    assert [ngrams[one.target] for one in made].count(title) == 1  # b has none
    longer = NgramConfig(search=NgramSettings(max_length=20))
    assert table.title_of("a") in ngram_examples(given, table, longer)[1]
    assert title not in ngram_examples(given, table, config(titles=False))[1]


def test_the_seed_decides(table: NgramTable) -> None:
    given = [example(table, "a", "nothing shared: !?", "passage")] * 5
    assert ngram_examples(given, table, config()) == ngram_examples(given, table, config())
    assert ngram_examples(given, table, config()) != ngram_examples(given, table, config(seed=1))


@pytest.mark.parametrize("settings", [{"spans": 0}, {"temperature": 0.0}, {"seed": -1}])
def test_bad_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected spans >= 1, temperature > 0, and seed >= 0"):
        NgramConfig(**settings)  # type: ignore[arg-type]
