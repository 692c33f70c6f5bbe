"""Tables of an evaluation: intervals, paired differences, corrected tests."""

import pytest

from experiments.rag_evaluation.bench import Row, restricted, says
from experiments.rag_evaluation.figures import columns, table_cells, table_figures
from experiments.rag_evaluation.settings import GroundingConfig, split_names, split_steps
from genir.errors import ConfigError
from rag.measures.per_question import PerQuery


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
    assert second == {"arm": "oracle", "EM": "1.000 [1.000, 1.000] (+1.000*)"}
    shown = columns(found, "hallucination")
    assert shown[:2] == ["EM", "F1"]
    assert "over-refusal" not in shown


def test_an_answer_says_so_in_a_sentence_too() -> None:
    assert says("It was built by Edvard Lund.", ["Edvard Lund"])
    assert not says("It was built by Nils Berg.", ["Edvard Lund"])


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
