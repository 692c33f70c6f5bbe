import pytest

from genir.errors import ConfigError, DataError
from genir.records import Answer, Citation, Claim, Document, ScoredDoc
from rag.mitigations.copying import ConstrainedCopying, Span, closest_span, copy
from rag.mitigations.step import Mitigation

EIFFEL = Document("e", "The tower was built in 1889 by Gustave Eiffel, an engineer. Eiffel was French.", "Tower")
OSLO = Document("o", "奥斯陆是挪威的首都。")
DOCUMENTS = {"e": EIFFEL, "o": OSLO}


def found(text: str) -> str | None:
    span = closest_span(text, [EIFFEL])
    return None if span is None else EIFFEL.text[span.start : span.end]


def test_what_stands_there_is_found_word_for_word() -> None:
    assert found("Gustave Eiffel") == "Gustave Eiffel"
    assert found("gustave eiffel!") == "Gustave Eiffel"
    assert found("1889") == "1889"
    assert closest_span("挪威", [EIFFEL, OSLO]) == Span(1, 4, 6, 1.0)


def test_the_closest_span_takes_the_place_of_what_is_nearly_right() -> None:
    assert found("Gustav Eiffel") == "Gustave Eiffel"  # 26 of 27 characters are common: .963
    assert found("Gustave G. Eiffel") == "Gustave Eiffel"
    assert closest_span("Gustav Eiffel", [EIFFEL], least=0.97) is None
    span = closest_span("Gustav Eiffel", [EIFFEL])
    assert span is not None
    assert span.similarity == pytest.approx(26 / 27)


def test_a_number_is_right_or_wrong() -> None:
    assert found("1888") is None
    assert found("in 1888 by Gustave Eiffel") is None
    assert found("1889 by Gustav Eiffel") == "1889 by Gustave Eiffel"


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("South Korea", "The summit was held in North Korea."),
        ("Australia", "The army of Austria marched in 1866."),
        ("Gambia", "Zambia lies in Africa."),
        ("Niger", "It borders Nigeria."),
        ("World War I", "It ended World War II in Europe."),
        ("Louis XIV", "The king was Louis XVI of France."),
        ("Henry VIII", "He served Henry VII."),
        ("XXVIII Olympic Games", "the XXXVIII Olympic Games"),
        ("First World War", "the Second World War"),
        ("unlawful", "it was lawful"),
        ("northern", "the southern part"),
        ("increased", "the rate decreased"),
        ("five goals", "nine goals"),
        ("Mrs. Smith", "Mr. Smith came"),
        ("John Adams", "John Quincy Adams"),
        ("Samuel Johnson", "Samuel Johnston"),
        ("Justin", "Justine came."),
        ("Louis Pasteur", "Louise Pasteur"),
        ("human rights of all people", "humane rights of all people"),
        ("George H. W. Bush", "George W. Bush"),
        ("is not the capital of France", "Paris is the capital of France."),
        ("the rate of 5 degrees", "the rate of -5 degrees"),
        ("第一次世界大战", "第二次世界大战爆发"),
        ("南朝鲜", "北朝鲜"),
        ("女王", "国王来了"),
    ],
)
def test_what_is_nearly_the_same_name_is_another(claim: str, passage: str) -> None:
    assert closest_span(claim, [Document("d", passage)]) is None


@pytest.mark.parametrize(
    ("claim", "passage", "copied"),
    [
        ("Gustave Eiffel", "It was designed by Gustav Eifel.", "Gustav Eifel"),
        ("Gustave Eiffel", "Gustave Eiffel's design", "Gustave Eiffel"),
        ("Beyonce Knowles", "by Beyoncé Knowles.", "Beyoncé Knowles"),
        ("Jean Paul Sartre", "by Jean-Paul Sartre.", "Jean-Paul Sartre"),
        ("US Army", "the U.S. Army came", "U.S. Army"),
        ("in the summer of 1889", "In spring and summer of 1889.", "summer of 1889"),
        ("the Republic of the Congo", "Republic of Congo", "Republic of Congo"),
        ("not Oslo", "The capital is not Oslo.", "not Oslo"),
        ("-5 degrees", "It was −5 degrees.", "−5 degrees"),
        ("北京 大学", "在北京大学读书", "北京大学"),
        ("１８８９年", "建于1889年", "1889年"),
    ],
)
def test_the_same_words_may_be_written_otherwise(claim: str, passage: str, copied: str) -> None:
    span = closest_span(claim, [Document("d", passage)])
    assert span is not None
    assert passage[span.start : span.end] == copied


def test_nothing_like_it_is_nothing() -> None:
    assert found("Alexander Graham Bell") is None
    assert found("") is found("?!") is None
    assert closest_span("Eiffel", []) is None


def test_the_cited_place_is_preferred() -> None:
    first, second = EIFFEL.text.index("Eiffel"), EIFFEL.text.rindex("Eiffel")
    claim = Claim("Eiffel", 0, 6)
    plain = copy(claim, [EIFFEL])
    assert plain is not None
    assert plain.citations[0].start == first
    cited = copy(Claim("Eiffel", 0, 6, (Citation("e", second, second + 10, "Eiffel was", 0),)), [EIFFEL])
    assert cited is not None
    assert (cited.citations[0].start, cited.citations[0].text) == (second, "Eiffel")


def answer(*claims: str, passages: tuple[str, ...] = ("e",), abstained: bool = False) -> Answer:
    made, text = [], ""
    for said in claims:
        start = len(text) + bool(text)
        text = f"{text} {said}".strip()
        made.append(Claim(said, start, len(text)))
    ranked = tuple(ScoredDoc(doc_id, 1.0) for doc_id in passages)
    return Answer("1", "Who?", text, abstained=abstained, claims=tuple(made), passages=ranked, confidence=0.7)


def test_the_step_copies_drops_and_withdraws() -> None:
    step = ConstrainedCopying()
    assert isinstance(step, Mitigation)
    [mended] = step.revise([answer("Gustav Eiffel", "Alexander Bell")], DOCUMENTS)
    assert (mended.text, len(mended.claims), mended.confidence) == ("Gustave Eiffel", 1, 0.7)
    claim = mended.claims[0]
    assert (claim.start, claim.end, claim.verdict) == (0, 14, "supported")
    citation = mended.citations[0]
    assert EIFFEL.text[citation.start : citation.end] == citation.text == "Gustave Eiffel"
    [withdrawn] = step.revise([answer("Alexander Bell")], DOCUMENTS)
    assert (withdrawn.abstained, withdrawn.text, withdrawn.passages) == (True, "I do not know", (ScoredDoc("e", 1.0),))
    [closed] = step.revise([answer("Gustave Eiffel", passages=())], DOCUMENTS)
    assert closed.abstained
    silent = answer(abstained=True)
    assert step.revise([silent], DOCUMENTS) == [silent]
    assert step.revise([], DOCUMENTS) == []


def test_two_claims_keep_their_places() -> None:
    [both] = ConstrainedCopying().revise([answer("Gustave Eiffel", "Bell", "Eiffel was French")], DOCUMENTS)
    assert both.text == "Gustave Eiffel Eiffel was French"
    assert [both.text[one.start : one.end] for one in both.claims] == ["Gustave Eiffel", "Eiffel was French"]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="similarity 0: expected a share above 0, at most 1"):
        ConstrainedCopying(similarity=0)
    with pytest.raises(DataError, match="names document 'x', which is not among the 2 documents"):
        ConstrainedCopying().revise([answer("a", passages=("x",))], DOCUMENTS)
