from collections.abc import Sequence
from math import log

import pytest

from genir.errors import DataError
from genir.measures import compare_scores
from genir.protocols import Generation
from genir.records import Answer, Citation, Claim, Document, Query, ScoredDoc
from rag.measures.per_question import consistency, measure_answers, run_scores
from rag.verification import LexicalChecker, Statement, Support

TOWER = Document("tower", "It was built by Gustave Eiffel in 1889.", title="Eiffel Tower")
ZH = Document("zh", "埃菲尔铁塔于1889年在巴黎建成。")
DOCUMENTS = {"tower": TOWER, "zh": ZH}
QUERIES = [
    Query("right", "Who built the Eiffel Tower?", ("Gustave Eiffel",)),
    Query("wrong", "When was the Eiffel Tower built?", ("1889",)),
    Query("zh", "埃菲尔铁塔在哪里？", ("巴黎",)),
    Query("silent", "Who painted the Eiffel Tower?", ("Nobody",)),
    Query("refused", "How many people live in the Eiffel Tower?"),
    Query("missing", "Where is the Eiffel Tower?", ("Paris",)),
]
ANSWERS = [
    Answer(
        "right",
        QUERIES[0].text,
        "Gustave Eiffel",
        claims=(Claim("Gustave Eiffel", 0, 14, (Citation("tower", 0, 39, TOWER.text, 0, written=True),)),),
        passages=(ScoredDoc("tower", 1.0),),
        confidence=0.9,
    ),
    Answer("wrong", QUERIES[1].text, "Emile Nouguier", passages=(ScoredDoc("tower", 1.0),), confidence=0.4),
    Answer("zh", QUERIES[2].text, "北京 1890", passages=(ScoredDoc("zh", 1.0),), confidence=0.5),
    Answer("silent", QUERIES[3].text, "", abstained=True, confidence=0.7),
    Answer("refused", QUERIES[4].text, "", abstained=True),
]
EVERY = [query.query_id for query in QUERIES]


def test_every_measure_of_a_small_run() -> None:
    values = measure_answers(ANSWERS, QUERIES, DOCUMENTS)

    def row(measure: str) -> list[float | None]:
        return [values[measure].get(query_id) for query_id in EVERY]

    assert row("EM") == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert row("hallucination") == [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert row("confidence") == [0.9, 0.4, 0.5, 0.0, 0.0, 0.0]
    assert row("refusal") == [None, None, None, None, 1.0, None]
    assert row("over-refusal") == [0.0, 0.0, 0.0, 1.0, None, 1.0]
    assert row("answer in context") == [1.0, 1.0, 1.0, 0.0, None, 0.0]
    assert row("lexical support") == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert row("unsupported names") == [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert row("unsupported numbers") == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert row("input-conflicting") == row("input-conflicting, of type") == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert row("input-conflicting, of subject") == [0.0] * 6
    assert row("fact-conflicting") == [0.0, 1.0, 1.0, 0.0, None, 0.0]
    assert row("supported claims (lexical)") == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert row("extrinsic (lexical)") == [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert not {"intrinsic (lexical)", "context-conflicting (lexical)"} & values.keys()  # it sees no contradiction
    assert row("attribution recall (lexical)") == row("attribution precision (lexical)") == [1.0] + [0.0] * 5
    assert row("citation recall (lexical)") == row("citation precision (lexical)") == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_the_checker_is_asked_only_where_costly() -> None:
    class Never:
        name = "never"

        def check(self, statements: object) -> list[object]:
            raise AssertionError("asked")

    values = measure_answers(ANSWERS, QUERIES, DOCUMENTS, Never(), costly=False)  # type: ignore[arg-type]
    assert not any("(" in measure for measure in values)
    assert "unsupported names" in values


def test_contradictions_are_measured_where_the_checker_sees_them() -> None:
    class Sees:
        name = "sees"

        def check(self, statements: Sequence[Statement]) -> list[Support]:
            return [Support(0.1, 0.8 if "Nouguier" in one.claim else 0.0) for one in statements]

    values = measure_answers(ANSWERS, QUERIES, DOCUMENTS, Sees())
    expected = {query_id: float(query_id == "wrong") for query_id in EVERY}
    assert values["intrinsic (sees)"] == values["context-conflicting (sees)"] == expected


def test_empty_and_silent_runs() -> None:
    assert measure_answers([], [], {}) == {}
    silent = measure_answers([], QUERIES, DOCUMENTS)
    assert set(silent["abstention"].values()) == {1.0}
    judged = (
        "hallucination",
        "unsupported names",
        "extrinsic (lexical)",
        "citation recall (lexical)",
        "support (lexical)",
    )
    assert {value for measure in judged for value in silent[measure].values()} == {0.0}


def test_documents_that_are_missing_are_named() -> None:
    with pytest.raises(DataError, match="the answer to 'right' names document 'tower', which is not among the 0"):
        measure_answers(ANSWERS, QUERIES, {})


def test_consistency_of_samples() -> None:
    samples = {
        "right": [Generation("Gustave Eiffel"), Generation("gustave eiffel"), Generation("Eiffel")],
        "wrong": [Generation("1889"), Generation("Nouguier")],
        "zh": [Generation("北京"), Generation("北京。")],
    }
    values = measure_answers(ANSWERS, QUERIES, DOCUMENTS, LexicalChecker(), samples=samples)
    assert values["semantic entropy (text)"] == pytest.approx(
        {"right": -(2 / 3 * log(2 / 3) + 1 / 3 * log(1 / 3)), "wrong": log(2), "zh": 0.0}
    )
    # "gustave" 3 and "eiffel" 4 of 7 words, the answer's own included
    assert values["unigram inconsistency, average"]["right"] == pytest.approx((log(7 / 3) + log(7 / 4)) / 2)
    assert values["unigram inconsistency, maximum"]["right"] == pytest.approx(log(7 / 3))
    assert values["semantic entropy (lexical)"].keys() == samples.keys()
    with pytest.raises(DataError, match="no sampled answer to 'zh': sample every question, or give no samples"):
        consistency(ANSWERS[:3], {"right": samples["right"], "wrong": samples["wrong"]})


def test_log_probabilities_are_of_all_answers_or_of_none() -> None:
    told = {q: Generation("x", (1, 2), (-1.0, -2.0)) for q in ("right", "wrong", "zh")}
    values = measure_answers(ANSWERS, QUERIES, DOCUMENTS, costly=False, generations=told)
    assert values["mean log-probability"] == dict.fromkeys(told, -1.5)
    mixed = told | {"zh": Generation("x")}
    with pytest.raises(
        DataError, match=r"1 answers have no log-probabilities \('zh' first\), 2 have: expected them for all"
    ):
        measure_answers(ANSWERS, QUERIES, DOCUMENTS, costly=False, generations=mixed)
    silent = dict.fromkeys(told, Generation("x"))
    assert "mean log-probability" not in measure_answers(ANSWERS, QUERIES, DOCUMENTS, costly=False, generations=silent)


def test_values_of_two_systems_pair_up() -> None:
    one = run_scores("one", measure_answers(ANSWERS, QUERIES, DOCUMENTS))
    other = run_scores("other", measure_answers(ANSWERS[:1], QUERIES, DOCUMENTS))
    rows = {(row.run, row.measure): row for row in compare_scores([one, other])}
    assert rows["one", "hallucination"].mean == pytest.approx(2 / 6)
    assert rows["other", "hallucination"].delta == pytest.approx(0 / 6 - 2 / 6)
    assert rows["other", "hallucination"].p == pytest.approx(2 / 4)  # two questions differ: 2 of 4 sign patterns
