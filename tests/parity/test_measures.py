"""Our scores are ir_measures' scores: on random runs without near-ties, and on a real data set."""

from pathlib import Path

import ir_measures
import numpy as np
import pytest

from genir.formats import load_dataset
from genir.measures import DEFAULT_MEASURES, evaluate
from genir.records import Qrels, Run


def random_case(seed: int, queries: list[str], documents: list[str], depth: int) -> tuple[Qrels, Run]:
    """Graded judgements and a ranking of distinct integer scores for most queries, and for one without judgements."""
    rng = np.random.default_rng(seed)
    judgements = {
        query_id: {documents[i]: int(rng.integers(0, 3)) for i in rng.choice(len(documents), 5, replace=False)}
        for query_id in queries
    }
    rankings = {}
    for query_id in [*queries[: -len(queries) // 5], "nobody judged this"]:
        scores = {documents[i]: float(s) for s, i in enumerate(rng.choice(len(documents), depth, replace=False))}
        rankings[query_id] = Run.rank(scores, depth)
    return Qrels(judgements), Run(f"random {seed}", rankings)


def theirs(run: Run, qrels: Qrels, measures: tuple[str, ...]) -> dict[str, float]:
    """ir_measures' own aggregates, from the run's own scores."""
    scores = {q: {scored.doc_id: scored.score for scored in ranking} for q, ranking in run.rankings.items()}
    parsed = [ir_measures.parse_measure(name) for name in measures]
    return {str(m): v for m, v in ir_measures.calc_aggregate(parsed, dict(qrels.judgements), scores).items()}


@pytest.mark.parametrize("seed", range(4))
def test_random_runs_score_as_in_ir_measures(seed: int) -> None:
    queries, documents = [f"q{i}" for i in range(25)], [f"d{i}" for i in range(150)]
    qrels, run = random_case(seed, queries, documents, depth=120)
    measures = (*DEFAULT_MEASURES, "AP", "P@5", "RR", "nDCG", "R(rel=2)@50")
    assert evaluate(run, qrels, measures).means == pytest.approx(theirs(run, qrels, measures), abs=1e-12)


def test_real_qrels_score_as_in_ir_measures(shared_data: Path) -> None:
    dataset = load_dataset(shared_data / "medquad", ["consumer"])
    qrels = dataset.qrels["consumer"]  # gains 1 to 3, several documents a query
    documents = sorted({doc_id for judged in qrels.judgements.values() for doc_id in judged})
    _, run = random_case(0, list(qrels), documents, depth=100)
    assert evaluate(run, qrels).means == pytest.approx(theirs(run, qrels, DEFAULT_MEASURES), abs=1e-12)
