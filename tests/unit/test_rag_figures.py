"""Tables of an evaluation: intervals, paired differences, corrected tests."""

from dataclasses import replace

import pytest

from experiments.rag_evaluation.bench import Row, restricted, says
from experiments.rag_evaluation.figures import columns, differences, table, table_cells, table_figures
from experiments.rag_evaluation.settings import GroundingConfig, split_generators, split_names, split_steps
from genir.errors import ConfigError
from genir.records import Answer, Query
from rag.measures.per_question import PerQuery, measure_answers
from rag.mitigations.cost import Cost


def row(right: str, given: str = "", against: str = "") -> Row:
    """One character a question: 1 is right, 0 wrong; `given` 0 an abstention."""
    told = given or "1" * len(right)
    values: PerQuery = {}
    for number, (one, two) in enumerate(zip(right, told, strict=True)):
        answered, em = float(two), float(one) * float(two)
        found = {"EM": em, "F1": em, "hallucination": answered - em, "fact-conflicting": answered - em}
        found |= {"coverage": answered, "abstention": 1 - answered, "confidence": answered * (0.5 + 0.4 * em)}
        for measure, value in found.items():
            values.setdefault(measure, {})[f"q{number}"] = value
    return Row(values, against, whole=True)


def test_each_row_is_compared_with_its_own_reference_question_by_question() -> None:
    rows = {
        "bm25": row("1100110011"),
        "oracle": row("1111111111", against="bm25"),
        "none": row("0000000000", "0" * 10, "bm25"),
    }
    found = table_figures(rows, "hallucination", resamples=20)
    assert "delta" not in found["bm25"]["EM"]
    delta = found["oracle"]["EM"]["delta"]
    assert (delta["against"], delta["mean"]) == ("bm25", pytest.approx(0.4))
    assert delta["p"] == pytest.approx(2 / 16)  # four questions differ, all one way
    assert delta["low"] <= 0.4 <= delta["high"]
    assert delta["p_corrected"] == pytest.approx(7 / 8)  # of ten tests three have a smaller p
    assert found["none"]["coverage"]["delta"]["mean"] == -1.0
    assert found["oracle"]["AURC"]["delta"]["mean"] == pytest.approx(-found["bm25"]["AURC"]["mean"])
    assert "p" not in found["oracle"]["AURC"]["delta"]


def test_what_is_not_defined_is_absent() -> None:
    found = table_figures({"none": row("00", "00"), "bm25": row("10", against="none")}, "hallucination", resamples=20)
    assert "hallucination of answered" not in found["none"]
    assert "delta" not in found["bm25"]["hallucination of answered"]
    assert all(None not in one.values() for by_measure in found.values() for one in by_measure.values())


def test_no_difference_over_different_questions() -> None:
    first = Row(restricted(row("1100").values, ["q0", "q1"]))
    found = table_figures({"some": first, "all": row("1111", against="some")}, "hallucination", resamples=20)
    assert "delta" not in found["all"]["EM"]
    assert restricted({"EM": {"q1": 1.0}}, ["q2"]) == {}


def test_cells_for_a_person() -> None:
    rows = {"bm25": row("0" * 10), "oracle": row("1" * 10, against="bm25")}
    found = table_figures(rows, "hallucination", resamples=20)
    [first, second] = table_cells(found, ["EM", "refusal"])
    assert first == {"arm": "bm25", "EM": "0.000 [0.000, 0.000]"}
    assert second == {"arm": "oracle", "EM": "1.000 [1.000, 1.000]"}
    [compared], names = differences(found, "hallucination")
    assert (compared["arm"], compared["against"], compared["EM"]) == ("oracle", "bm25", "+1.000* [+1.000, +1.000]")
    assert names[:3] == ["arm", "against", "EM"]
    assert differences({"bm25": found["bm25"]}, "hallucination")[0] == []
    shown = columns(found, "hallucination")
    assert shown[:2] == ["EM", "F1"]
    assert "over-refusal" not in shown


def test_a_mitigation_by_hand() -> None:
    """Four answers, two of them wrong; a step leaves the first, a right one."""
    queries = [Query(str(i), f"Question {i}?", ("right",)) for i in range(4)]
    texts = ("right", "right", "wrong", "wrong")
    answers = [
        Answer(query.query_id, query.text, text, confidence=0.9 - 0.2 * i)
        for i, (query, text) in enumerate(zip(queries, texts, strict=True))
    ]
    revised = [answers[0], *(Answer(one.query_id, one.question, "", abstained=True) for one in answers[1:])]
    values = [measure_answers(some, queries, {}, costly=False) for some in (answers, revised)]
    rows = {"bm25": Row(values[0], whole=True), "bm25 + abstain": Row(values[1], against="bm25", whole=True)}
    found = table_figures(rows, "hallucination", resamples=20)
    of_answered = "hallucination of answered"
    measures = ("EM", "F1", "hallucination", "coverage", "over-refusal", of_answered)
    assert [found["bm25"][one]["mean"] for one in measures] == [0.5, 0.5, 0.5, 1.0, 0.0, 0.5]
    after = found["bm25 + abstain"]
    assert [after[one]["mean"] for one in measures] == [0.25, 0.25, 0.0, 0.25, 0.75, 0.0]
    delta = after["hallucination"]["delta"]
    # Two questions differ: of four sign patterns two are as extreme.
    assert [delta[one] for one in ("mean", "low", "high", "p")] == [-0.5, -1.0, 0.0, 0.5]
    assert delta["p_corrected"] == 1.0
    assert after[of_answered]["delta"]["mean"] == -0.5
    assert "p" not in after[of_answered]["delta"]


def test_the_table_tells_coverage_and_what_a_question_costs() -> None:
    plain = replace(row("1100"), cost=Cost(calls=4, searches=4, words=40, seconds=2.0))
    dearer = replace(row("1100", "1101", "bm25"), cost=Cost(calls=12, searches=4, words=400, seconds=6.0))
    found = table_figures({"bm25": plain, "bm25 + verify": dearer}, "hallucination", resamples=20)
    assert found["bm25 + verify"]["calls"] == {"mean": 3.0}
    assert found["bm25"]["checks"] == {"mean": 0.0}
    cells, headings = table(found, "hallucination")
    # No row counts tokens or checks.
    assert list(headings.values())[-4:] == ["model calls", "searches", "words", "seconds"]
    shown = {one["arm"]: (one["coverage"], one["calls"], one["words"], one["seconds"]) for one in cells}
    assert shown["bm25"] == ("1.000 [1.000, 1.000]", "1.000", "10.000", "0.500")
    assert shown["bm25 + verify"][1:] == ("3.000", "100.0", "1.500")
    assert cells[1]["coverage"].startswith("0.750 [")


def test_settings_belong_to_the_generator_before_them() -> None:
    several = "a,llama:NAME,stages=2, dtype = float32,b"
    assert split_generators(several) == ("a", "llama:NAME,stages=2,dtype = float32", "b")
    assert split_generators(" a, b ,,") == ("a", "b")
    assert split_generators("hf:runs/x=1,span") == ("hf:runs/x=1", "span")
    assert split_generators("x=1") == ("x=1",)


def test_an_answer_says_so_in_a_sentence_too() -> None:
    assert says("It was built by Edvard Lund.", ["Edvard Lund"], "Who built it?")
    assert not says("It was built by Nils Berg.", ["Edvard Lund"], "Who built it?")
    assert says("1998 and 1994", ["1998"], "Was it 1994 or 1998?")
    assert not says("1998 and 1994", ["1998"], "When was it?")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retrievers": ("bm52",)}, "unknown retriever 'bm52': did you mean 'bm25'"),
        ({"retrievers": ("bm25", "bm25")}, "--retrievers bm25,bm25: 'bm25' is given more than once"),
        ({"retrievers": ()}, "at least one retriever"),
        ({"generators": ()}, "and one generator"),
        ({"mitigations": ("abstian",)}, "unknown mitigation 'abstian': did you mean 'abstain'"),
        ({"conditions": ("poison",)}, "unknown condition 'poison': did you mean 'poisoned'"),
        ({"against": "dense"}, "--against dense: is not among --retrievers none,random,bm25,oracle"),
        ({"loss": "halucination"}, "unknown loss 'halucination': did you mean 'hallucination'"),
        ({"entities": "new"}, "unknown entities 'new'"),
        ({"limit": -1}, "limit -1"),
        ({"k": 0}, "k 0"),
        (
            {"conditions": ("distractors",), "k": 1},
            "condition distractors: with -k 1 there is no passage beside the right one",
        ),
    ],
)
def test_impossible_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GroundingConfig(**settings)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_reference_arm() -> None:
    assert GroundingConfig().reference == "bm25"
    assert GroundingConfig(("none", "oracle")).reference == "none"
    assert GroundingConfig(("none", "bm25"), against="none").reference == "none"
    assert split_names(" a, b ,,") == split_steps(" a, b ,,") == ("a", "b")
    assert (split_names("none"), split_steps("none")) == (("none",), ())
