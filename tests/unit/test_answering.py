from collections.abc import Iterator, Sequence

import pytest

from genir.errors import ConfigError, DataError
from genir.protocols import Generation, SamplingParams
from genir.records import Document, Qrels, Query, Run, ScoredDoc
from rag.answering import answer
from rag.evaluation import OracleRetriever, RandomRetriever, compare_arms
from rag.generators.extractive import ExtractiveGenerator
from rag.prompt import parse_prompt

DOCUMENTS = {
    "he": Document("he", "Helium is a noble gas. The symbol of helium is He.", title="Helium"),
    "ne": Document("ne", "Neon glows red. The symbol of neon is Ne.", title="Neon"),
    "ar": Document("ar", "Argon is lazy. The symbol of argon is Ar.", title="Argon"),
}


class FixedRetriever:
    name = "fixed"

    def __init__(self, *doc_ids: str) -> None:
        self.doc_ids = doc_ids

    def search(self, queries: Sequence[Query], k: int) -> Run:
        ranking = tuple(ScoredDoc(doc_id, 1.0 / rank) for rank, doc_id in enumerate(self.doc_ids[:k], 1))
        return Run(self.name, {query.query_id: ranking for query in queries})


class SymbolGenerator:
    """Answers with the last word of the first passage; closed-book it makes something up."""

    name = "symbol"

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        replies = []
        for prompt in prompts:
            _, passages = parse_prompt(prompt)
            replies.append(Generation(f" {passages[0].split()[-1].rstrip('.')}" if passages else " Unobtainium"))
        return replies

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        yield self.generate([prompt], params)[0].text


def test_an_answer_cites_the_sentence_that_holds_it() -> None:
    (found,) = answer("What is the symbol of helium?", FixedRetriever("he", "ne"), SymbolGenerator(), DOCUMENTS, k=2)
    assert (found.query_id, found.text, found.retriever, found.generator) == ("q1", "He", "fixed", "symbol")
    (citation,) = found.citations
    assert DOCUMENTS["he"].text[citation.start : citation.end] == citation.text == "The symbol of helium is He."
    assert found.support == 1.0
    assert [passage.doc_id for passage in found.passages] == ["he", "ne"]


def test_closed_book_answers_without_sources() -> None:
    (found,) = answer("What is the symbol of helium?", None, SymbolGenerator(), DOCUMENTS)
    assert (found.text, found.citations, found.support, found.retriever) == ("Unobtainium", (), 0.0, "none")
    assert not found.abstained


def test_nothing_retrieved_is_an_abstention_not_a_closed_book_answer() -> None:
    (found,) = answer("What is the symbol of helium?", FixedRetriever(), SymbolGenerator(), DOCUMENTS)
    assert found.abstained
    assert (found.text, found.citations, found.passages) == ("I do not know", (), ())


def test_nothing_relevant_is_an_abstention_that_records_what_was_read() -> None:
    (found,) = answer("Who won the 1966 football final?", FixedRetriever("ar"), ExtractiveGenerator(), DOCUMENTS)
    assert found.abstained
    assert [passage.doc_id for passage in found.passages] == ["ar"]


def test_an_extractive_answer_is_a_quotation() -> None:
    (found,) = answer("What is the symbol of neon?", FixedRetriever("he", "ne"), ExtractiveGenerator(), DOCUMENTS)
    (citation,) = found.citations
    assert found.text == citation.text == DOCUMENTS["ne"].text[citation.start : citation.end]
    assert found.text == "The symbol of neon is Ne."
    assert found.support == 1.0


def test_faults_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="k = 0: expected at least one passage"):
        answer("Who?", None, SymbolGenerator(), DOCUMENTS, k=0)
    with pytest.raises(ConfigError, match="question 'q2' is empty"):
        answer(["Who?", "  "], None, SymbolGenerator(), DOCUMENTS)
    with pytest.raises(ConfigError, match="two questions share one query_id"):
        answer([Query("a", "x"), Query("a", "y")], None, SymbolGenerator(), DOCUMENTS)
    with pytest.raises(
        DataError, match="'fixed' returned 'xe', which is not among the 3 documents: it was built for another"
    ):
        answer("Who?", FixedRetriever("xe"), SymbolGenerator(), DOCUMENTS)


def test_no_questions_no_answers() -> None:
    assert answer([], None, SymbolGenerator(), DOCUMENTS) == []


QUERIES = [Query("1", "What is the symbol of helium?", ("He",)), Query("2", "What is the symbol of neon?", ("Ne",))]
QRELS = Qrels({"1": {"he": 1, "ar": 0}, "2": {"ne": 1}})


def test_oracle_returns_the_relevant_and_random_never_does() -> None:
    oracle = OracleRetriever(QRELS).search([*QUERIES, Query("3", "?")], 2)
    assert [[d.doc_id for d in oracle.rankings[q]] for q in "123"] == [["he"], ["ne"], []]
    drawn = RandomRetriever(tuple(DOCUMENTS), QRELS)
    assert {d.doc_id for d in drawn.search(QUERIES, 5).rankings["1"]} == {"ne", "ar"}
    assert drawn.search(QUERIES, 1) == drawn.search(QUERIES[::-1], 1)


def test_the_table_has_a_row_an_arm() -> None:
    arms = {"closed-book": None, "oracle": OracleRetriever(QRELS), "random": RandomRetriever(tuple(DOCUMENTS), QRELS)}
    closed, oracle, random = compare_arms(arms, SymbolGenerator(), QUERIES, DOCUMENTS, k=1)
    assert (closed.scores.mean["hallucination"], closed.scores.mean["EM"]) == (1.0, 0.0)
    assert (oracle.scores.mean["EM"], oracle.intervals["EM"]) == (1.0, (1.0, 1.0))
    assert random.scores.mean["hallucination"] == 1.0
    assert oracle.row()["arm"] == "oracle"
    assert oracle.row()["EM low"] == 1.0
    with pytest.raises(ConfigError, match="at least one arm and one question, got 3 and 0"):
        compare_arms(arms, SymbolGenerator(), [], DOCUMENTS)


def test_a_question_of_ten_thousand_words_is_cut_with_a_warning() -> None:
    question = "What is the symbol of helium " + "really " * 10_000
    with pytest.warns(UserWarning, match="1 of 1 questions have more than 64 words and were cut"):
        [found] = answer(question, FixedRetriever("he"), ExtractiveGenerator(), DOCUMENTS)
    assert found.citations[0].text == "The symbol of helium is He."
