"""Settings chosen on dev: the right one of a hand-made case, the usual one of equals, and what cannot be tuned."""

from dataclasses import replace

import pytest

from genir.errors import ConfigError, DataError
from genir.measures import evaluate
from genir.records import Document, Qrels, Query, Run, ScoredDoc
from retrievers.bm25 import BM25Retriever
from retrievers.tuning import BM25Grid, tune_bm25, tune_hybrid

# What the titles say is right, what the texts say misleads.
CORPUS = [
    Document("a", "lima " * 9, "oslo"),
    Document("b", "oslo " * 9, "lima"),
    Document("c", "cairo", "cairo"),
]
QUERIES = [Query("p", "oslo"), Query("q", "lima")]
QRELS = Qrels({"p": {"a": 1}, "q": {"b": 1}})


def test_the_fields_that_find_most_win() -> None:
    tuned = tune_bm25(CORPUS, QUERIES, QRELS, measure="Success@1")
    assert (tuned.settings.fields, tuned.value, tuned.measure, tuned.queries) == (("title",), 1.0, "Success@1", 2)
    assert (tuned.settings.k1, tuned.settings.b) == (0.9, 0.4)  # every k1 and b does as well: the usual ones
    assert len(tuned.grid) == 5 * 6 * 6
    by_fields = {row["fields"]: row["value"] for row in tuned.grid}
    assert by_fields["title"] == 1.0
    assert by_fields["title+text"] == by_fields["text"] == 0.0


def test_titles_that_must_count_more() -> None:
    # "a" says oslo in its title, "b" three times in its text: equally long, and "b" is ahead until the title counts four times.
    corpus = [
        Document("a", "lies far away", "oslo"),
        Document("b", "oslo oslo oslo", "away"),
        Document("c", "cairo", "cairo"),
    ]
    grid = BM25Grid(k1=(0.9,), b=(0.0,))
    tuned = tune_bm25(corpus, QUERIES[:1], Qrels({"p": {"a": 1}}), replace(grid, fields=grid.fields[:4]), "Success@1")
    assert tuned.settings.fields == ("title", "title", "title", "title", "text")
    assert [row["value"] for row in tuned.grid] == [0.0, 0.0, 1.0, 0.0]


def test_a_length_that_must_count() -> None:
    # Of two documents with one "oslo" the longer is right: only without length normalisation do they tie, and "a" comes first.
    corpus = [Document("a", "oslo " + "filler " * 20), Document("b", "oslo"), Document("c", "cairo")]
    grid = BM25Grid(fields=("text",), k1=(0.9,), b=(0.0, 0.4, 0.9))
    tuned = tune_bm25(corpus, QUERIES[:1], Qrels({"p": {"a": 1}}), grid, "Success@1")
    assert (tuned.settings.b, tuned.value) == (0.0, 1.0)
    assert [row["value"] for row in tuned.grid] == [1.0, 0.0, 0.0]


def test_of_equals_the_usual_fields_win() -> None:
    corpus = [Document("a", "oslo", "oslo"), Document("b", "lima", "lima"), Document("c", "cairo")]
    tuned = tune_bm25(corpus, QUERIES, QRELS, BM25Grid(fields=("title", "title+text"), k1=(2.0, 0.5), b=(0.9,)))
    assert tuned.settings.fields == ("title",)  # the grid's own first
    assert tuned.settings.k1 == 0.5  # nearer to .9
    assert tune_bm25(corpus, QUERIES, QRELS).settings.fields == ("title", "text")


def test_every_point_is_what_bm25_gives() -> None:
    corpus = [Document(f"d{i}", f"word{i % 3} word{i % 5} oslo", f"title{i % 2}") for i in range(20)]
    queries = [Query("p", "word1 word4"), Query("q", "title1 word2 oslo")]
    qrels = Qrels({"p": {"d4": 1}, "q": {"d17": 1, "d5": 1}})
    grid = BM25Grid(fields=("title+text", "title"), k1=(0.5, 2.0), b=(0.1, 0.9))
    for row in tune_bm25(corpus, queries, qrels, grid, "RR@10").grid:
        retriever = BM25Retriever(k1=row["k1"], b=row["b"], fields=tuple(row["fields"].split("+")))
        run = retriever.build(corpus).search(queries, 100)
        assert evaluate(run, qrels, ["RR@10"]).means["RR@10"] == pytest.approx(row["value"], abs=1e-6)


def run(**rankings: list[tuple[str, float]]) -> Run:
    return Run("run", {key: tuple(ScoredDoc(*pair) for pair in pairs) for key, pairs in rankings.items()})


def test_the_hybrid_takes_the_better_normalisation_and_min_max_of_equals() -> None:
    first, second = run(q=[("a", 1.0), ("b", 0.5), ("z", 0.0)]), run(q=[("b", 1.0), ("z", 0.0)])
    tuned = tune_hybrid(first, second, Qrels({"q": {"b": 1}}), "Success@1", steps=10)
    assert (tuned.weight, tuned.normalisation, tuned.value) == (0.5, "min-max", 1.0)
    assert set(tuned.curves) == {"min-max", "z"}
    assert tuned.reciprocal_rank_value == 1.0  # b is second and first, a first only
    assert tuned.as_settings() == {"weight": 0.5, "normalisation": "min-max"}


def test_z_wins_where_ranges_and_deviations_disagree() -> None:
    # In both queries the runs disagree by a tenth of the range, so under min-max no weight is right for both. Many middling
    # documents make the deviation of q's second ranking small, and its tenth weighs more under z.
    middling = [(f"m{i}", 5.0) for i in range(8)]
    right_first, wrong_first = [("r", 10.0), ("b", 9.0), ("c", 0.0)], [("b", 10.0), ("r", 9.0), ("c", 0.0)]
    first = run(p=right_first, q=wrong_first)
    second = run(p=wrong_first, q=[*right_first[:2], *middling, *right_first[2:]])
    tuned = tune_hybrid(first, second, Qrels({"p": {"r": 1}, "q": {"r": 1}}), "Success@1", steps=10)
    assert (tuned.weight, tuned.normalisation, tuned.value) == (0.6, "z", 1.0)
    assert max(value for _, value in tuned.curves["min-max"]) == 0.5


def test_what_cannot_be_tuned() -> None:
    with pytest.raises(DataError, match="nothing to tune on: the dev split has no queries"):
        tune_bm25(CORPUS, [], Qrels({}))
    with pytest.raises(ConfigError, match="unknown document field 'titel': did you mean 'title'"):
        BM25Grid(fields=("titel+text",))
    with pytest.raises(ConfigError, match="an empty grid"):
        BM25Grid(k1=())
    with pytest.raises(ConfigError, match=r"k1 is -1\.0 and b is 0\.4"):
        tune_bm25(CORPUS, QUERIES, QRELS, BM25Grid(k1=(-1.0,), b=(0.4,)))
    with pytest.raises(ConfigError, match="unknown measure 'Sucess@1': did you mean 'Success@1'"):
        tune_bm25(CORPUS, QUERIES, QRELS, measure="Sucess@1")
