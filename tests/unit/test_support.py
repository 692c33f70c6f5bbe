from collections.abc import Sequence

import pytest

from genir.errors import ConfigError, DataError
from genir.records import Answer, Citation, Claim, Document, ScoredDoc
from rag.measures.support import (
    answer_lexical_support,
    check_once,
    cited_text,
    claim_support,
    claims_of,
    unsupported_names,
    unsupported_numbers,
)
from rag.verification import NO_SUPPORT, LexicalChecker, Statement, Support

HELIUM = Document("he", "It is a noble gas. Its symbol is He.", title="Helium")
NEON = Document("ne", "It glows red.", title="Neon")
DOCUMENTS = {"he": HELIUM, "ne": NEON}
PASSAGES = (ScoredDoc("he", 2.0), ScoredDoc("ne", 1.0))
SYMBOL = Citation("he", 19, 36, "Its symbol is He.", 0)


class TableChecker:
    """Knows (claim, evidence) -> Support; anything else is not to be told."""

    name = "table"

    def __init__(self, table: dict[tuple[str, str], Support]) -> None:
        self.table = table
        self.calls: list[list[Statement]] = []

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        self.calls.append(list(statements))
        return [self.table.get((one.claim, one.evidence), NO_SUPPORT) for one in statements]


def test_an_answer_without_claims_is_one_claim() -> None:
    assert claims_of(Answer("q", "?", "He", (SYMBOL,))) == (Claim("He", 0, 2, (SYMBOL,)),)
    recorded = (Claim("H", 0, 1), Claim("e", 1, 2))
    assert claims_of(Answer("q", "?", "He", claims=recorded)) == recorded
    assert claims_of(Answer("q", "?", "I do not know", abstained=True)) == ()
    assert claims_of(Answer("q", "?", "  ")) == ()


def test_cited_text_says_what_it_is_about() -> None:
    assert cited_text((SYMBOL,), DOCUMENTS) == "Helium. Its symbol is He."
    assert cited_text((Citation("he", 33, 35, "He"),), DOCUMENTS) == "Helium. Its symbol is He."
    assert cited_text((SYMBOL, SYMBOL), DOCUMENTS) == "Helium. Its symbol is He."
    assert cited_text((), DOCUMENTS) == ""
    with pytest.raises(DataError, match="the answer to 'q' names document 'xe', which is not among the 2 documents"):
        cited_text((Citation("xe", 0, 1, "X"),), DOCUMENTS, "q")


def test_lexical_support_is_of_what_is_cited() -> None:
    said = "Helium glows"  # "helium" is the title of what is cited, "glows" stands in neon's text
    assert answer_lexical_support(Answer("q", "?", said, (SYMBOL,)), DOCUMENTS) == 1 / 2
    two = Answer("q", "?", "He. Red.", claims=(Claim("He.", 0, 3, (SYMBOL,)), Claim("Red.", 4, 8)))
    assert answer_lexical_support(two, DOCUMENTS) == (1.0 + 0.0) / 2
    assert answer_lexical_support(Answer("q", "?", "", abstained=True), DOCUMENTS) == 0.0


def test_unsupported_names_stand_in_neither_evidence_nor_question() -> None:
    evidence = "The tower was built by Gustave Eiffel."
    assert unsupported_names("Gustave Eiffel built it in Paris with Emile Nouguier", evidence) == (
        "Paris",
        "Emile Nouguier",
    )
    assert unsupported_names("Gustave Eiffel built it in Paris", evidence, "Who built it in Paris?") == ()
    assert unsupported_names("Paris", "") == ("Paris",)
    assert unsupported_names("爱因斯坦在慕尼黑出生", "爱因斯坦于乌尔姆出生") == ("慕尼黑出生",)
    assert unsupported_names("乌尔姆", "爱因斯坦于乌尔姆出生") == ()


def test_unsupported_numbers_go_by_value() -> None:
    evidence = "Some 5,000,000 people came in 1889, the third year."
    assert unsupported_numbers("five million in 1889", evidence) == ()
    assert unsupported_numbers("five thousand in 1890, one of them", evidence) == ("five thousand", "1890")
    assert unsupported_numbers("1890", evidence, "What happened in 1890?") == ()
    assert unsupported_numbers("五百万人", evidence) == ()
    assert unsupported_numbers("六百人", evidence) == ("六百",)
    assert unsupported_numbers("1.2bn", "1.2 billion") == ()
    assert unsupported_numbers("-5", "5") == ("-5",)
    assert unsupported_numbers("5", "-5") == ("5",)
    assert unsupported_numbers("−5", "minus five") == ()


def test_a_statement_is_checked_once() -> None:
    checker = TableChecker({("a", "b"): Support(0.9)})
    same, empty = Statement("a", "b"), Statement("a", " ")
    assert check_once([same, empty, same], checker) == {same: Support(0.9), empty: NO_SUPPORT}
    assert checker.calls == [[same]]
    assert check_once([], checker) == {}
    assert len(checker.calls) == 1


def test_a_checker_that_loses_statements_is_refused() -> None:
    class Silent:
        name = "silent"

        def check(self, statements: Sequence[Statement]) -> list[Support]:
            return []

    with pytest.raises(DataError, match="checker 'silent' gave 0 results for 1 statements: expected one each"):
        check_once([Statement("a", "b")], Silent())


def test_one_passage_that_supports_is_enough() -> None:
    helium, neon = HELIUM.title_and_text, NEON.title_and_text
    checker = TableChecker(
        {
            ("a", helium): Support(0.9),
            ("a", neon): Support(0.1, 0.9),  # does not matter: helium supports it
            ("b", helium): Support(0.2, 0.7),
            ("b", neon): Support(0.4),
        }
    )
    answer = Answer("q", "?", "abc", passages=PASSAGES, claims=tuple(Claim(c, i, i + 1) for i, c in enumerate("abc")))
    found = claim_support([answer, Answer("silent", "?", "", abstained=True)], DOCUMENTS, checker)
    assert [(one.supported, one.contradicted, one.verdict) for one in found["q"]] == [
        (0.9, 0.9, "supported"),
        (0.4, 0.7, "contradicted"),
        (0.0, 0.0, "unsupported"),
    ]
    assert found["silent"] == ()
    assert len(checker.calls) == 1


def test_closed_book_nothing_is_supported() -> None:
    [claim] = claim_support([Answer("q", "?", "He")], DOCUMENTS, LexicalChecker(), threshold=0.0)["q"]
    assert (claim.supported, claim.verdict) == (0.0, "unsupported")
    with pytest.raises(ConfigError, match=r"threshold 2: expected a probability, 0 to 1"):
        claim_support([], DOCUMENTS, LexicalChecker(), threshold=2)
