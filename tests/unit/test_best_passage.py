"""Documents by the best of their passages: by hand, exact at every depth, and nothing lost where one document has many good ones."""

import pytest

from genir.errors import ConfigError
from genir.records import Query, Run
from retrievers.best_passage import BestPassageRetriever, passage_corpus

SCORES = {"a b 0": 9.0, "a b 1": 8.0, "a b 2": 7.0, "c 0": 6.5, "c 1": 1.0, "d 0": 6.0, "d 1": 8.5}


class Fixed:
    """A retriever over passages whose scores are given."""

    name = "fixed"

    def search(self, queries: list[Query], k: int) -> Run:
        return Run(self.name, {query.query_id: Run.rank(SCORES if query.text else {}, k) for query in queries})


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_the_best_passage_is_the_documents_score(k: int) -> None:
    run = BestPassageRetriever(Fixed(), 3).search([Query("q", "text"), Query("blank", "")], k)
    assert [(one.doc_id, one.score) for one in run.rankings["q"]] == [("a b", 9.0), ("d", 8.5), ("c", 6.5)][:k]
    assert (run.name, run.rankings["blank"]) == ("fixed", ())


def test_passages_are_named_after_their_documents() -> None:
    made = passage_corpus({"a b": ["one", "two"], "c": ["three"]})
    assert [(one.doc_id, one.text, one.title) for one in made] == [
        ("a b 0", "one", ""),
        ("a b 1", "two", ""),
        ("c 0", "three", ""),
    ]


def test_no_documents_are_asked_for() -> None:
    with pytest.raises(ConfigError, match="k is 0"):
        BestPassageRetriever(Fixed(), 3).search([Query("q", "text")], 0)
