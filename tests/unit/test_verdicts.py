from collections.abc import Sequence

from genir.records import Citation, Claim, Document
from rag.claims import draft
from rag.reading import Reading
from rag.verdicts import evidence_of, judge
from rag.verification import LexicalChecker, Statement, Support

OSLO = Document("o", "Oslo is the capital of Norway. It lies at a fjord.", "Oslo")
LIMA = Document("l", "Lima lies at the sea.", "Lima")


class Scripted:
    """Says of each claim what it was told to, and keeps what it was asked."""

    name = "scripted"

    def __init__(self, **said: Support) -> None:
        self.said = said
        self.asked: list[Statement] = []

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        self.asked += statements
        return [self.said.get(statement.claim, Support(0.1)) for statement in statements]


def claims(*texts: str) -> list[Claim]:
    return list(draft(Reading("\n".join(texts)), "What is the capital?", [OSLO, LIMA]).claims)


def test_verdicts_follow_the_probabilities() -> None:
    said = {"Oslo": Support(0.9, 0.05), "Lima": Support(0.3, 0.6), "fjord": Support(0.4, 0.3), "sea": Support(0.6, 0.9)}
    [judged] = judge([claims(*said)], ["What?"], [[OSLO, LIMA]], Scripted(**said))
    assert [(claim.verdict, claim.support) for claim in judged] == [
        ("supported", 0.9),
        ("contradicted", 0.3),
        ("unsupported", 0.4),
        ("contradicted", 0.6),
    ]


def test_all_claims_of_all_answers_are_checked_at_once_against_whole_sentences_with_titles() -> None:
    checker = Scripted()
    judge([claims("fjord"), claims("sea", "Norway")], ["a?", "b?"], [[OSLO, LIMA]] * 2, checker)
    assert checker.asked == [
        Statement("fjord", "Oslo. It lies at a fjord.", "a?"),
        Statement("sea", "Lima. Lima lies at the sea.", "b?"),
        Statement("Norway", "Oslo. Oslo is the capital of Norway.", "b?"),
    ]


def test_evidence_tells_each_sentence_once() -> None:
    cited = [
        Citation("o", 0, 4, "Oslo", 0),
        Citation("o", 12, 34, "capital of Norway. It", 0),
        Citation("l", 0, 4, "Lima", 1),
    ]
    assert evidence_of(cited, [OSLO, LIMA]) == f"Oslo. {OSLO.text} Lima. {LIMA.text}"


def test_a_claim_without_a_citation_may_still_be_contradicted_and_then_cites_what_does() -> None:
    [claim] = claims("Bergen")
    assert claim.citations == ()
    checker = Scripted(Bergen=Support(0.0, 0.95))
    [[judged]] = judge([[claim]], ["What is the capital of Norway?"], [[LIMA, OSLO]], checker)
    assert (judged.verdict, judged.support) == ("contradicted", 0.0)
    assert [(one.passage, one.text) for one in judged.citations] == [(1, "Oslo is the capital of Norway.")]
    [[judged]] = judge([[claim]], ["What is the capital of Norway?"], [[LIMA, OSLO]], Scripted())
    assert judged == claim


def test_closed_book_nothing_is_checked() -> None:
    checker = Scripted()
    assert judge([claims("Bergen")], ["What?"], [[]], checker) == [tuple(claims("Bergen"))]
    assert judge([[]], ["What?"], [[OSLO]], checker) == [()]
    assert checker.asked == []


def test_the_default_checker_without_a_model() -> None:
    [judged] = judge([claims("Oslo", "Paris in Norway")], ["What is the capital?"], [[OSLO, LIMA]], LexicalChecker())
    assert [(claim.verdict, claim.support) for claim in judged] == [("supported", 1.0), ("unsupported", 0.5)]
    [[judged_one]] = judge([claims("Paris is Norwegian, a fjord")], ["What?"], [[OSLO]], LexicalChecker())
    assert judged_one.verdict == "unsupported"
