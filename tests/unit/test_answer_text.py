"""What is printed beneath an answer: claims, verdicts, and the sentences around what they cite."""

import pytest

from experiments.answer_text import excerpt, print_sources
from genir.records import Answer, Citation, Claim, Document, Rival, ScoredDoc

NORWAY = "Norway is long. Its capital and largest city is Oslo. It has fjords."
CHINA = "中国是一个国家。它的首都是北京，最大的城市是上海。"
WALL = "word " * 100 + "Oslo" + " more" * 100  # no full stop


def around(text: str, cited: str) -> tuple[str, str, str]:
    start = text.index(cited)
    return excerpt(text, start, start + len(cited))


def test_the_sentence_around_a_span() -> None:
    assert around(NORWAY, "Oslo") == ("Its capital and largest city is ", "Oslo", ".")
    assert around(CHINA, "北京") == ("它的首都是", "北京", "，最大的城市是上海。")
    assert around(NORWAY, "long. Its") == ("Norway is ", "long. Its", " capital and largest city is Oslo.")
    assert around("Oslo", "Oslo") == ("", "Oslo", "")


@pytest.mark.parametrize("text", [WALL, "字" * 500 + "Oslo" + "字" * 500])
def test_a_wall_of_text_is_cut_around_the_span(text: str) -> None:
    before, cited, after = around(text, "Oslo")
    assert cited == "Oslo"
    assert (before[0], after[-1]) == ("…", "…")
    assert 200 <= len(before + cited + after) <= 242
    assert text.startswith(before[1:] + cited + after[:-1], text.index(before[1:] + "Oslo"))
    assert " " not in (before[1], after[-2])  # cut between words


def test_what_one_side_does_not_need_the_other_gets() -> None:
    before, _, after = around("Oslo" + " more" * 200, "Oslo")
    assert before == ""
    assert 220 <= len(after) <= 238
    before, _, after = around("word " * 200 + "Oslo", "Oslo")
    assert after == ""
    assert 220 <= len(before) <= 238


def test_a_long_span_is_cut_itself() -> None:
    before, cited, after = excerpt("So " + WALL, 3, 3 + len(WALL))
    assert (before, after) == ("…", "")
    assert cited.endswith(" word…")
    assert len(cited) <= 242


def cited(text: str, document: Document, support: float = 0.95) -> Answer:
    start = document.text.index(text)
    citation = Citation(document.doc_id, start, start + len(text), text, 0)
    claims = (Claim(text, 0, len(text), (citation,), support, "supported"),)
    return Answer("q", "?", text, claims=claims, citations=(citation,), passages=(ScoredDoc(document.doc_id, 1.0),))


@pytest.mark.parametrize(
    ("text", "document", "expected"),
    [
        (
            "Oslo",
            Document("a", NORWAY, "Norway"),
            "  supported .95\n    [Norway] Its capital and largest city is Oslo.  (a, characters 48 to 52)\n",
        ),
        (
            "北京",
            Document("c", CHINA, "中国"),
            "  supported .95\n    [中国] 它的首都是北京，最大的城市是上海。  (c, characters 13 to 15)\n",
        ),
        ("Oslo is\n[red]old[/].", Document("o", "Oslo is\n[red]old[/]."), "  supported .95\n    [o]  (o, characters 0 to 20)\n"),
    ],
)  # fmt: skip
def test_a_claim_stands_with_verdict_support_and_sentence(
    text: str, document: Document, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_sources(cited(text, document), {document.doc_id: document})
    assert capsys.readouterr().out == expected


def test_a_wall_of_text_that_is_the_claim_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    document = Document("w", WALL)
    print_sources(cited(WALL, document), {"w": document})
    assert capsys.readouterr().out == f"  supported .95\n    [w]  (w, characters 0 to {len(WALL)})\n"


def test_what_is_cited_is_bold_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    document = Document("a", "Its seat\x1b[2J is [b]Oslo[/b] " + "now " * 90, "Norway")
    print_sources(cited("Oslo", document), {"a": document})
    out = capsys.readouterr().out
    assert "Its seat [2J is [b]\x1b[1mOslo\x1b[0m[/b] now" in out  # text of documents is no markup, and escapes nothing
    assert "…" in out
    assert len(out.splitlines()) == 2


def test_several_claims_and_a_rival(capsys: pytest.CaptureFixture[str]) -> None:
    document = Document("a", NORWAY, "Norway")
    one = cited("Oslo", document)
    loose = Claim("Vikings.", 6, 14, (), 0.004, "unsupported")
    rival = Rival("Bergen", one.citations[0])
    several = Answer(
        "q", "?", "Oslo. Vikings.", claims=(*one.claims, loose), citations=one.citations, passages=one.passages,
        rivals=(rival,),
    )  # fmt: skip
    print_sources(several, {"a": document})
    assert capsys.readouterr().out.splitlines() == [
        "  supported .95: Oslo",
        "    [Norway] Its capital and largest city is Oslo.  (a, characters 48 to 52)",
        "  unsupported .00: Vikings.",
        "  passage 1 says otherwise: Bergen  [Norway] (a)",
    ]
