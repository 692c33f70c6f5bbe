"""Prefix agreement, by hand: six documents on a line, two tokens each."""

import json

import numpy as np
import pytest

from docids.neighbours import nearest_neighbours, prefix_agreement
from docids.quality import diagnose
from docids.random_control import RandomScheme
from docids.table import DocIDTable
from genir.errors import DataError
from genir.records import Document


def angles(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


# Three near 0 degrees, three near 90.
VECTORS = angles(0, 3, 5, 85, 87, 90)


def table_of(*identifiers: tuple[int, ...]) -> DocIDTable:
    return DocIDTable("hand", {f"d{i}": tokens for i, tokens in enumerate(identifiers)}, vocab_size=10)


def test_nearest_neighbours_leave_out_the_document_and_do_not_ask_for_length() -> None:
    found = nearest_neighbours(VECTORS * np.array([[9], [1], [1], [1], [1], [4]]), np.array([0, 4, 5]), 2)
    assert [sorted(row) for row in found.tolist()] == [[1, 2], [3, 5], [3, 4]]


def test_prefixes_that_follow_the_embedding() -> None:
    table = table_of((0, 1), (0, 1), (0, 2), (5, 1), (5, 2), (5, 2))
    found = prefix_agreement(table, VECTORS, neighbours=2)
    first, second = found["prefixes"]
    assert (found["nearest"], found["documents"]) == (2, 6)
    # Every document's two neighbours share its first token, and so do 2 of its 5 others.
    assert first == {"length": 1, "neighbours": 1.0, "random": pytest.approx(0.4), "lift": pytest.approx(2.5)}
    # Four documents share both tokens with one of their two neighbours, and with one of five others.
    assert second["neighbours"] == pytest.approx(4 / 6 / 2)
    assert second["random"] == pytest.approx(4 / 6 / 5)
    assert second["lift"] == pytest.approx(2.5)
    json.dumps(found)


def test_prefixes_that_run_across_the_embedding() -> None:
    [row] = prefix_agreement(table_of((0,), (1,), (2,), (2,), (1,), (0,)), VECTORS, neighbours=2)["prefixes"]
    assert row == {"length": 1, "neighbours": 0.0, "random": pytest.approx(0.2), "lift": 0.0}


def test_an_identifier_shorter_than_the_prefix_shares_it_with_none() -> None:
    first, second = prefix_agreement(table_of((0,), (0,), (0, 1), (0, 1)), angles(0, 1, 2, 3), neighbours=1)["prefixes"]
    assert first["neighbours"] == first["random"] == first["lift"] == 1.0
    assert second["random"] == pytest.approx(0.5 / 3)


def test_identifiers_that_share_nothing_and_a_corpus_of_one_have_no_prefixes() -> None:
    assert prefix_agreement(table_of((0,), (1,)), angles(0, 1)) == {"nearest": 1, "documents": 2, "prefixes": []}
    assert prefix_agreement(table_of((0,)), angles(0)) == {"nearest": 0, "documents": 1, "prefixes": []}


def test_a_sample_in_which_no_prefix_is_shared_has_no_lift() -> None:
    rows = [
        prefix_agreement(table_of((0,), (0,), (1,), (2,)), angles(0, 1, 2, 3), 1, sample=1, seed=seed)["prefixes"][0]
        for seed in range(8)
    ]
    assert {row["lift"] for row in rows if row["random"] == 0} == {None}
    assert any(row["random"] == 0 for row in rows)


def test_random_identifiers_have_a_lift_of_about_one_and_the_seed_repeats() -> None:
    vectors = np.random.default_rng(0).standard_normal((600, 8))
    table = RandomScheme(levels=6, codes=4).assign([Document(f"d{i}", "text") for i in range(600)])
    found = prefix_agreement(table, vectors, sample=300)
    assert found["prefixes"][0]["lift"] == pytest.approx(1, abs=0.1)
    assert found == prefix_agreement(table, vectors, sample=300)


def test_diagnose_shows_it_where_embeddings_are_given() -> None:
    table = table_of((0, 1), (0, 2), (0, 2), (5, 1), (5, 2), (5, 2))
    assert "neighbour_agreement" not in diagnose(table)
    assert diagnose(table, VECTORS)["neighbour_agreement"] == prefix_agreement(table, VECTORS)
    with pytest.raises(DataError, match=r"expected vectors of shape \(6, 2\) for this table, got \(5, 2\)"):
        diagnose(table, VECTORS[:5])
    broken = VECTORS.copy()
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match=r"document 'd3' has an embedding that is not finite \(one of 1\)"):
        diagnose(table, broken)
