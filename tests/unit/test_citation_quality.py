"""ALCE's definitions on cases small enough to follow by hand. Evidence e1, e2, e3 are documents without titles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from genir.errors import ConfigError, DataError
from genir.protocols import Generation, SamplingParams
from genir.records import Answer, Citation, Claim, Document, Query, Run, ScoredDoc
from rag.answering import answer
from rag.generators.extractive import ExtractiveGenerator
from rag.measures.citation_quality import CitationQuality, attribution_quality, citation_quality
from rag.verification import LexicalChecker, Statement, Support

DOCUMENTS = {name: Document(name, name) for name in ("e1", "e2", "e3", "e4")}


class NeedsChecker:
    """A claim "x+y" needs both parts in the evidence; "x|y" either."""

    name = "needs"

    def __init__(self) -> None:
        self.calls = 0

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        self.calls += 1
        found = []
        for one in statements:
            held = set(one.evidence.split())
            right = any(set(way.split("+")) <= held for way in one.claim.split("|"))
            found.append(Support(float(right)))
        return found


def cite(*names: str) -> tuple[Citation, ...]:
    return tuple(Citation(name, 0, 2, name, written=True) for name in names)


def of(*claims: tuple[str, tuple[Citation, ...]]) -> tuple[CitationQuality, int]:
    answer = Answer("q", "?", " ".join(text for text, _ in claims), claims=tuple(Claim(t, 0, 1, c) for t, c in claims))
    checker = NeedsChecker()
    return citation_quality([answer], DOCUMENTS, checker)["q"], checker.calls


def test_one_citation_that_supports() -> None:
    assert of(("e1", cite("e1"))) == (CitationQuality(1.0, 1.0, 1, 1), 1)


def test_a_claim_without_citation_is_not_recalled() -> None:
    # recall: one of two claims; precision: its one citation of one
    assert of(("e1", cite("e1")), ("e2", ())) == (CitationQuality(1 / 2, 1 / 1, 2, 1), 1)


def test_a_citation_that_is_needed_only_with_another_is_precise() -> None:
    # neither supports alone, neither can be left out
    assert of(("e1+e2", cite("e1", "e2"))) == (CitationQuality(1.0, 2 / 2, 1, 2), 3)


def test_a_citation_that_can_be_left_out_is_irrelevant() -> None:
    # e3 does not support alone, and e1 supports without it
    assert of(("e1", cite("e1", "e3"))) == (CitationQuality(1.0, 1 / 2, 1, 2), 3)


def test_a_second_citation_that_supports_by_itself_is_relevant() -> None:
    # it can be left out, but supports alone
    assert of(("e1|e2", cite("e1", "e2"))) == (CitationQuality(1.0, 2 / 2, 1, 2), 2)


def test_of_a_claim_that_is_not_recalled_no_citation_is_precise() -> None:
    # recall 1 of 2; precision: 1 of the first claim's citation, 0 of the second's two: 1 of 3
    assert of(("e1", cite("e1")), ("e2+e4", cite("e2", "e3"))) == (CitationQuality(1 / 2, 1 / 3, 2, 3), 1)


def test_three_citations_of_a_claim_count() -> None:
    assert of(("e4", cite("e1", "e2", "e3", "e4")))[0] == CitationQuality(0.0, 0.0, 1, 3)
    assert of(("e1", cite("e1", "e1", "e1", "e1")))[0] == CitationQuality(1.0, 1.0, 1, 1)  # the same one, repeated


def test_chinese() -> None:
    class Holds:
        name = "holds"

        def check(self, statements: Sequence[Statement]) -> list[Support]:
            return [Support(float(one.claim in one.evidence)) for one in statements]

    document = Document("zh", "他生于乌尔姆。他死于普林斯顿。", title="爱因斯坦")
    cited = Citation("zh", 0, 7, "他生于乌尔姆。", written=True)
    answers = [Answer("right", "?", "乌尔姆", (cited,)), Answer("wrong", "?", "普林斯顿", (cited,))]
    found = citation_quality(answers, {"zh": document}, Holds())
    assert found == {"right": CitationQuality(1.0, 1.0, 1, 1), "wrong": CitationQuality(0.0, 0.0, 1, 1)}


def test_abstentions_empty_runs_and_missing_documents() -> None:
    checker = NeedsChecker()
    silent = Answer("q", "?", "", abstained=True)
    assert citation_quality([silent], DOCUMENTS, checker) == {"q": CitationQuality(0.0, 0.0, 0, 0)}
    assert citation_quality([], DOCUMENTS, checker) == {}
    assert checker.calls == 0
    with pytest.raises(DataError, match="'gone', which is not among the 4 documents: give the corpus"):
        citation_quality([Answer("q", "?", "x", cite("gone"))], DOCUMENTS, checker)
    with pytest.raises(ConfigError, match="at_most = 0: expected at least one citation a claim"):
        citation_quality([], DOCUMENTS, checker, at_most=0)


def test_a_marker_of_no_passage_costs_recall_and_precision() -> None:
    claim = Claim("e1", 0, 1, cite("e1"), out_of_range=1)
    found = Answer("q", "?", "e1", claims=(claim,))
    assert citation_quality([found], DOCUMENTS, NeedsChecker())["q"] == CitationQuality(0.0, 0.0, 1, 2)
    assert attribution_quality([found], DOCUMENTS, NeedsChecker())["q"] == CitationQuality(1.0, 1.0, 1, 1)


def test_what_was_attributed_is_no_citation_of_the_generator() -> None:
    [cited] = cite("e1")
    claim = Claim("e1", 0, 1, (replace(cited, written=False),))
    found = Answer("q", "?", "e1", claims=(claim,))
    assert citation_quality([found], DOCUMENTS, NeedsChecker())["q"] == CitationQuality(0.0, 0.0, 1, 0)
    assert attribution_quality([found], DOCUMENTS, NeedsChecker())["q"] == CitationQuality(1.0, 1.0, 1, 1)


CITIES = {
    "a": Document("a", "Oslo is the capital of Norway.", "Norway"),
    "b": Document("b", "Lima is the capital of Peru.", "Peru"),
}


@dataclass
class Says:
    """A generator of one text."""

    text: str
    name: str = "says"

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        return [Generation(self.text) for _ in prompts]

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        yield self.text


class Both:
    """Finds both documents."""

    name = "both"

    def search(self, queries: Sequence[Query], k: int) -> Run:
        return Run("both", {query.query_id: (ScoredDoc("a", 2.0), ScoredDoc("b", 1.0)) for query in queries})


@pytest.mark.filterwarnings("ignore:.*citation markers name passages that were not shown")
@pytest.mark.parametrize(
    ("text", "written", "attributed"),
    [
        ("Oslo [1]", (1.0, 1.0, 1, 1), (1.0, 1.0, 1, 1)),
        ("Oslo", (0.0, 0.0, 1, 0), (1.0, 1.0, 1, 1)),
        ("Oslo [9]", (0.0, 0.0, 1, 1), (1.0, 1.0, 1, 1)),
        ("Oslo [1][9]", (0.0, 0.0, 1, 2), (1.0, 1.0, 1, 1)),
        ("Oslo [2]", (0.0, 0.0, 1, 1), (0.0, 0.0, 1, 1)),
        ("the", (0.0, 0.0, 1, 0), (0.0, 0.0, 1, 0)),
        ("We cannot do shiny things", (0.0, 0.0, 1, 0), (0.0, 0.0, 1, 0)),
    ],
)
def test_what_a_generator_writes_is_measured_as_it_wrote_it(
    text: str, written: tuple[float, ...], attributed: tuple[float, ...]
) -> None:
    [said] = answer(["What is the capital of Norway?"], Both(), Says(text), CITIES)
    measured = [measure([said], CITIES, LexicalChecker())["q1"] for measure in (citation_quality, attribution_quality)]
    assert measured == [CitationQuality(*written), CitationQuality(*attributed)]  # type: ignore[arg-type]


def test_a_reader_that_quotes_has_cited_what_it_quotes() -> None:
    [said] = answer(["What is the capital of Norway?"], Both(), ExtractiveGenerator(), CITIES)
    assert [citation.written for citation in said.citations] == [True]
    assert citation_quality([said], CITIES, LexicalChecker())["q1"] == CitationQuality(1.0, 1.0, 1, 1)
