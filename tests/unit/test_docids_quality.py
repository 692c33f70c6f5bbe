"""Diagnostics, by hand arithmetic."""

import json

import numpy as np
import pytest

from docids.quality import diagnose
from docids.table import DocIDTable
from genir.errors import DataError


def test_every_figure_by_hand() -> None:
    table = DocIDTable(
        "hand",
        {"a": (0, 4), "b": (0, 4), "c": (0, 5), "d": (1, 4), "e": (1,), "f": (2,)},
        vocab_size=8,
        codes_per_level=4,
        facts={"moved": 1},
    )
    figures = diagnose(table)
    levels = figures.pop("levels")
    assert figures == {
        "scheme": "hand",
        "documents": 6,
        "identifiers": 5,
        "uniqueness": pytest.approx(5 / 6),
        "collision_rate": pytest.approx(2 / 6),
        "largest_group": 2,
        "prefixes": 1,
        "vocab_size": 8,
        "length": {"min": 1, "mean": pytest.approx(10 / 6), "max": 2},
        "facts": {"moved": 1},
    }
    first, second = levels
    entropy = 0.5 * 1 + (1 / 3) * np.log2(3) + (1 / 6) * np.log2(6)
    assert (first["documents"], first["distinct"], first["branching_mean"], first["branching_max"]) == (6, 3, 3.0, 3)
    assert first["entropy_bits"] == pytest.approx(entropy)
    assert first["balance"] == pytest.approx(entropy / 2)
    assert (second["documents"], second["distinct"]) == (4, 2)
    assert (second["branching_mean"], second["branching_max"]) == (1.5, 2)
    json.dumps([figures, levels])


def test_one_document_of_one_possible_token() -> None:
    (level,) = diagnose(DocIDTable("hand", {"a": (0,)}, vocab_size=1))["levels"]
    assert (level["entropy_bits"], level["balance"]) == (0.0, 1.0)


def test_reconstruction_where_there_are_codebooks_and_vectors() -> None:
    books = np.array([[[1, 0], [0, 1]], [[0, 0], [0, 1]]], dtype=np.float32)
    table = DocIDTable("hand", {"a": (0, 2), "b": (0, 3)}, vocab_size=4, codebooks=books, codes_per_level=2)
    vectors = np.array([[1, 0], [1, 0]], dtype=np.float32)
    found = diagnose(table, vectors)["reconstruction"]
    assert found["mean_cosine"] == pytest.approx((1 + np.sqrt(0.5)) / 2)
    assert found["mean_squared_error"] == pytest.approx(0.5)
    assert "reconstruction" not in diagnose(table)
    with pytest.raises(DataError, match=r"expected vectors of shape \(2, 2\) for this table, got \(3, 2\)"):
        diagnose(table, np.zeros((3, 2)))
