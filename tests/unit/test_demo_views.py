"""Answers, passages and seconds as HTML: what stands where, and that nothing which somebody wrote becomes markup."""

from dataclasses import replace
from html.parser import HTMLParser

from experiments.demo.answer_view import answer_html, closed_book_html, rank_of
from experiments.demo.conversation import Conversation
from experiments.demo.markup import element, escaped
from experiments.demo.passage_view import passages_html
from experiments.demo.progress import Asked, Passage, Progress
from experiments.demo.report_view import pieces_of, refused_pieces, seconds_html
from experiments.demo.wording import CHINESE, ENGLISH
from genir.records import Answer, Citation, Claim, Document, Rival, ScoredDoc
from rag.prompt import Turn

TEXT = "Lima is the capital of Peru. It lies on the Pacific coast."
EVIL = "<script>x()</script><img src=x onerror=\"x()\"> ${x()} {{x}} `x` 'x'"
FIRST = Citation("lima", 0, 28, TEXT[:28], passage=1)
SECOND = Citation("lima", 8, 58, TEXT[8:58], passage=1)
CLAIMS = (
    Claim("Lima is the capital.", 0, 20, (FIRST,), 0.9, "supported"),
    Claim("It has a king.", 21, 35, (SECOND,), 0.1, "contradicted"),
    Claim("It is old.", 36, 46),
)
ANSWER = Answer(
    "q",
    "What is the capital of Peru?",
    "Lima is the capital. It has a king. It is old. Yes.",
    (FIRST, SECOND),
    generator="wordy",
    passages=(ScoredDoc("oslo", 2.0), ScoredDoc("lima", 1.5)),
    claims=CLAIMS,
    confidence=0.75,
)
PASSAGES = (
    Passage(Document("oslo", "Oslo is in Norway.", "Oslo"), 1, 2.0),
    Passage(Document("lima", TEXT, "Lima"), 2, 1.5, (0, 4), "0-4"),
)
ASKED = Asked("What is the capital of Peru?", "bm25", "wordy")


class Tags(HTMLParser):
    """The tags of some HTML, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_escaped_text_is_text_for_html_and_for_templates() -> None:
    html = escaped(EVIL)
    assert not set("<>\"'${}`") & set(html.replace("&#", "").replace(";", ""))
    assert Tags(html).text == EVIL
    assert Tags(html).tags == []


def test_an_element_leaves_out_what_is_false() -> None:
    assert element("p", "x", class_="a", open=True, hidden=False, data_x=None) == '<p class="a" open>x</p>'
    assert element("p", "", title='"<') == '<p title="&quot;&lt;"></p>'


def test_claims_are_coloured_and_numbered_by_their_passages() -> None:
    found = Tags(answer_html(ANSWER, {"lima": "Lima"}, ENGLISH))
    assert [one["class"] for one in found.of("span")][:3] == [
        "claim supported",
        "claim contradicted",
        "claim unsupported",
    ]
    links = found.of("button")
    assert [(one["data-cite"], one["data-rank"]) for one in links] == [("0", "2"), ("1", "2")]
    assert links[0]["title"] == "Source 2: Lima: “Lima is the capital of Peru.”"
    assert found.of("span")[0]["title"] == "supported by its source (support 90%)"
    assert "Lima is the capital.2 It has a king.2 It is old. Yes." in found.text
    assert "confidence 0.75" in found.text


def test_the_legend_shows_contradicted_only_where_a_claim_is() -> None:
    meaning = ENGLISH.verdicts["contradicted"]
    assert meaning in Tags(answer_html(ANSWER, {}, ENGLISH)).text
    agreed = replace(ANSWER, claims=(CLAIMS[0],))
    text = Tags(answer_html(agreed, {}, ENGLISH)).text
    assert meaning not in text
    assert text.endswith(f"{ENGLISH.verdicts['supported']} {ENGLISH.verdicts['unsupported']}")


def test_claims_that_overlap_show_every_character_once() -> None:
    overlapping = replace(ANSWER, text="one two three", claims=(Claim("one two", 0, 7), Claim("two three", 4, 13)))
    assert Tags(answer_html(overlapping, {}, ENGLISH)).text.startswith("one two three")


def test_a_citation_of_a_passage_that_was_not_read_leads_nowhere() -> None:
    stray = Citation("nowhere", 0, 1, "x", passage=9)
    assert rank_of(stray, ANSWER) is None
    assert rank_of(Citation("lima", 0, 1, "x"), ANSWER) == 2
    answer = replace(ANSWER, claims=(Claim("Lima", 0, 4, (stray,)),))
    assert Tags(answer_html(answer, {}, ENGLISH)).of("button") == []


def test_an_abstention_says_so() -> None:
    silent = Answer("q", "?", "", abstained=True, generator="span")
    assert "I do not know." in answer_html(silent, {}, ENGLISH)
    assert "我不知道。" in answer_html(silent, {}, CHINESE)
    assert Tags(closed_book_html(silent, ENGLISH)).text == "I do not know."
    assert "nothing here can be checked" in closed_book_html(replace(silent, text="Lima", abstained=False), ENGLISH)


def test_a_reader_that_only_copies_says_so_in_the_column_without_documents() -> None:
    state = Progress(ASKED, PASSAGES, only_copies=True)
    for one in (state, replace(state, answer=ANSWER, finished=True)):
        assert Tags(pieces_of(one, ENGLISH).closed_book).text == (
            "wordy only copies from passages; a language model would answer from memory here."
        )
        assert "只会摘抄段落" in pieces_of(one, CHINESE).closed_book
    assert pieces_of(replace(state, asked=replace(ASKED, closed_book=False)), ENGLISH).closed_book == ""


def test_what_was_used_is_told_with_the_answer() -> None:
    state = Progress(ASKED, PASSAGES, answer=ANSWER)
    assert Tags(pieces_of(state, ENGLISH).grounded).text.endswith("Found by bm25, answered by wordy.")
    assert Tags(pieces_of(state, CHINESE).grounded).text.endswith("由 bm25 检索，由 wordy 作答。")


def test_passages_show_rank_score_identifier_and_mark_what_supports() -> None:
    html = passages_html(PASSAGES, ANSWER, ENGLISH)
    found = Tags(html)
    assert [one["data-rank"] for one in found.of("details")] == ["1", "2"]
    assert ["open" in one for one in found.of("details")] == [False, True]
    assert "rank 2 · score 1.500 · lima · DocID 0-4" in found.text
    assert [one["data-cites"] for one in found.of("mark")] == ["0", "0 1", "1"]
    assert "<strong>Lima</strong>" in html
    assert "<strong>is</strong>" not in html
    assert TEXT in found.text


def test_marks_hold_chinese_characters() -> None:
    cited = Citation("东京", 0, 8, "东京是日本的首都", passage=0)
    answer = Answer(
        "q",
        "日本的首都？",
        "东京",
        (cited,),
        passages=(ScoredDoc("东京", 1.0),),
        claims=(Claim("东京", 0, 2, (cited,)),),
    )
    html = passages_html((Passage(Document("东京", "东京是日本的首都。"), 1, 1.0),), answer, CHINESE)
    assert "<strong>东</strong><strong>京</strong>是<strong>日</strong>" in html


def test_nothing_that_was_written_becomes_markup() -> None:
    cited = Citation("d", 0, len(EVIL), EVIL, passage=0)
    answer = Answer(
        "q", EVIL, EVIL, (cited,), passages=(ScoredDoc("d", 1.0),), claims=(Claim(EVIL, 0, len(EVIL), (cited,)),)
    )
    passage = Passage(Document(EVIL, EVIL, EVIL), 1, 1.0, (1,), EVIL)
    asked = Asked(EVIL, EVIL, EVIL)
    done = Progress(asked, (passage,), None, EVIL, answer, answer, answer, "nothing_relevant", {"search": 1.0}, True)
    for state in (done, replace(done, answer=None, held_back=None, finished=False)):
        pieces = pieces_of(state, ENGLISH)
        for html in (pieces.caution, pieces.closed_book, pieces.grounded, pieces.passages, pieces.tree, pieces.seconds):
            found = Tags(html)
            assert not {"script", "img"} & {tag for tag, _ in found.tags}
            assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
            assert "${" not in html
            assert "{{" not in html


def test_a_conversation_stands_above_its_question_as_text() -> None:
    turns = (Turn(EVIL, "an answer"), Turn("Where is Lima?", EVIL))
    asked = replace(ASKED, question=EVIL, turns=turns, forgotten=2)
    html = pieces_of(Progress(asked, search_query=f"{EVIL} (Lima)"), ENGLISH).conversation
    found = Tags(html)
    assert {tag for tag, _ in found.tags} == {"div", "p", "dl", "dt", "dd"}
    assert len(found.of("dt")) == 3
    assert "2 earlier turns are left out." in found.text
    assert f"Searched for: {EVIL} (Lima)" in found.text
    assert pieces_of(Progress(ASKED), ENGLISH).conversation == ""
    after = Tags(pieces_of(Progress(ASKED, finished=True), CHINESE).conversation).text
    assert after == "下一个问题将接着这段对话。"
    refused = refused_pieces("no", Conversation(turns), ENGLISH)
    assert Tags(refused.conversation).text.count("an answer") == 1


def test_why_no_tree_is_drawn() -> None:
    state = Progress(replace(ASKED, retriever="mine"), PASSAGES, finished=True)
    assert Tags(pieces_of(state, ENGLISH).tree).text.startswith("The tree of mine is not drawn; the identifiers")
    assert "mine writes no identifier" in Tags(pieces_of(replace(state, passages=PASSAGES[:1]), ENGLISH).tree).text


def test_seconds_are_named_and_add_up() -> None:
    found = Tags(seconds_html({"search": 0.25, "answer": 0.5}, ENGLISH))
    assert "Time: 0.75 s: search 0.25 s · reading and answering 0.50 s" in found.text
    assert len(found.of("span")) == 2
    assert seconds_html({}, ENGLISH) == ""


def test_a_passage_that_says_otherwise_is_named() -> None:
    rival = Rival(EVIL, Citation("oslo", 0, 4, "Oslo", passage=0), 0.2)
    found = Tags(answer_html(replace(ANSWER, rivals=(rival,)), {}, ENGLISH))
    assert f"Source 1 says otherwise: {EVIL}" in found.text
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "img"})
    assert "says otherwise" not in answer_html(ANSWER, {}, ENGLISH)


def test_both_languages_say_everything() -> None:
    for name, said in vars(ENGLISH).items():
        other = getattr(CHINESE, name)
        assert type(other) is type(said)
        if isinstance(said, dict):
            assert other.keys() == said.keys()
        elif isinstance(said, str):
            assert other
            assert said.count("{") == other.count("{"), name
