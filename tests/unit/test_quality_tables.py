"""The tables about quality, by hand."""

from typing import Any

from experiments.quality.tables import ablation_table, costs_table, labels_table, parts_table, quality_table


def one(measure: str, mean: float, **tests: float) -> dict[str, dict[str, float]]:
    return {measure: {"mean": mean, **tests}}


def lines(table: str) -> list[str]:
    return table.splitlines()


def test_parts_are_those_of_splits_that_have_both() -> None:
    both = {part: {"bm25": one("nDCG@10", value)} for part, value in (("unseen", 0.25), ("seen", 0.5))}
    seen = {"seen": {"bm25": one("Success@1", 1.0)}}
    table = parts_table({"scifact": {"splits": {"test": {"parts": both}, "dev": {"parts": seen}}}})
    assert lines(table) == [
        "| system | scifact, seen, nDCG@10 | scifact, unseen, nDCG@10 |",
        "| --- | --- | --- |",
        "| BM25, tuned | 0.500 | 0.250 |",
    ]


def test_a_star_is_for_what_differs_from_bm25_after_correction() -> None:
    summary = {
        "scifact": {"bm25": one("nDCG@10", 0.5), "dense": one("nDCG@10", 0.25, p_bm25=0.01, p_bm25_corrected=0.06)},
        "drcd": {"bm25": one("Success@1", 0.75), "dense": one("Success@1", 0.125, p_bm25_corrected=0.04)},
        "drcd (spring)": {"bm25": one("Success@1", 1.0)},
    }
    assert lines(quality_table(summary))[:4] == [
        "| system | drcd, Success@1 | drcd (spring), Success@1 | scifact, nDCG@10 |",
        "| --- | --- | --- | --- |",
        "| BM25, tuned | 0.750 | 1.000 | 0.500 |",
        "| dense, zero-shot | 0.125* |  | 0.250 |",
    ]


def test_costs_are_means_over_seeds() -> None:
    cost = {"build_seconds": 60.0, "search_seconds": 1.0, "queries": 500, "index_bytes": 1e6, "bytes": 3e6}
    assert lines(costs_table({"bm25": [cost, cost | {"build_seconds": 180.0, "search_seconds": 3.0}]}))[2:] == [
        "| BM25, tuned | 2.0 | 4.0 | 1.0 | 3.0 |"
    ]


def test_labels_have_a_column_for_every_share() -> None:
    figures = {
        "squad-small, share 0.01": {"bm25": one("Success@1", 0.7)},
        "squad-small, share 1": {"bm25": one("Success@1", 0.75), "dense": one("Success@1", 0.6)},
    }
    assert lines(labels_table(figures))[:1] + lines(labels_table(figures))[2:] == [
        "| system | squad-small, 1 %, Success@1 | squad-small, 100 %, Success@1 |",
        "| BM25, tuned | 0.700 | 0.750 |",
        "| dense, zero-shot |  | 0.600 |",
    ]


def test_switches_are_compared_with_their_base_and_starred_by_the_corrected_test() -> None:
    test: dict[str, Any] = {
        "whole": one("Success@1", 0.5),
        "whole, codes alone": one("Success@1", 0.25),
        "eight": one("Success@1", 0.4375, p_whole=0.001, p_whole_corrected=0.01),
        "eight, codes alone": one("Success@1", 0.25, **{"p_whole, codes alone_corrected": 1.0}),
        "views, codes alone": one("Success@1", 0.125, **{"p_eight, codes alone_corrected": 0.04}),
    }
    rows = {"whole": {"base": None}, "eight": {"base": "whole"}, "views": {"base": "eight"}}
    assert lines(ablation_table({"splits": {"test": test}, "rows": rows}))[2:] == [
        "| whole |  | 0.500 |  | 0.250 |  |",
        "| eight | whole | 0.438 | -0.062* | 0.250 | +0.000 |",
        "| views | eight |  |  | 0.125 | -0.125* |",
    ]
