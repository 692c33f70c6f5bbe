"""Clustering, residual and hierarchical codes, their distinctness, and the random control."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from docids.clustering import kmeans
from docids.distinct import make_distinct
from docids.hierarchical import HierarchicalScheme, hierarchical_codes
from docids.random_control import RandomScheme, random_codes
from docids.residual import Quantisation, ResidualScheme, mean_cosine, refit_codebooks, residual_quantise
from genir.errors import ConfigError, DataError, MissingExtraError
from genir.records import Document
from tests.tiny_text_models import WordEncoder


def cloud(rows: int = 300, width: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def squared_error(vectors: np.ndarray, quantised: Quantisation) -> float:
    return float(((vectors - quantised.reconstruct()) ** 2).sum())


def test_kmeans_gives_every_row_the_nearest_centroid() -> None:
    vectors = cloud()
    centroids, labels = kmeans(vectors, 8, seed=3)
    distances = ((vectors[:, None] - centroids) ** 2).sum(axis=2)
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))
    assert np.mean(distances.min(axis=1)) < 0.8 * np.mean(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1))


def test_kmeans_without_more_distinct_rows_than_clusters_gives_each_its_own() -> None:
    rows = np.array([[1, 0], [2, 0], [1, 0]], dtype=np.float32)
    centroids, labels = kmeans(rows, 8, seed=0)
    assert labels.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(centroids[labels], rows)


def test_kmeans_without_faiss_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"clustering of embeddings needs faiss-cpu, .*genir\[dense\]"):
        kmeans(cloud(), 4, seed=0)


def test_every_level_of_residual_codes_lowers_the_error() -> None:
    vectors = cloud()
    errors = [squared_error(vectors, residual_quantise(vectors, levels, codes=16)) for levels in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_greedy_codebooks_are_the_means_of_what_is_left() -> None:
    vectors = cloud()
    quantised = residual_quantise(vectors, levels=1, codes=8)
    for code in range(8):
        mean = vectors[quantised.codes[:, 0] == code].mean(axis=0)
        np.testing.assert_allclose(quantised.codebooks[0, code], mean, atol=0.05)  # faiss stops before convergence


def test_refitting_lowers_the_error_and_keeps_the_codes() -> None:
    vectors = cloud()
    greedy = residual_quantise(vectors, levels=4, codes=16)
    errors = [squared_error(vectors, refit_codebooks(vectors, greedy, sweeps)) for sweeps in (0, 1, 5, 20)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.95 * errors[0]
    refitted = refit_codebooks(vectors, greedy)
    np.testing.assert_array_equal(refitted.codes, greedy.codes)
    assert refitted.codebooks.dtype == np.float32


def test_refitting_solves_the_ridge_regression() -> None:
    """Against the normal equations, solved directly."""
    vectors, levels, codes, ridge = cloud(60, 5), 2, 6, 0.5
    greedy = residual_quantise(vectors, levels, codes)
    design = np.zeros((60, levels * codes))
    for level in range(levels):
        design[np.arange(60), level * codes + greedy.codes[:, level]] = 1
    start = greedy.codebooks.reshape(levels * codes, 5)
    normal = design.T @ design + ridge * np.eye(levels * codes)
    direct = np.linalg.solve(normal, design.T @ vectors + ridge * start)
    refitted = refit_codebooks(vectors, greedy, sweeps=500, ridge=ridge)
    np.testing.assert_allclose(refitted.codebooks.reshape(direct.shape), direct, atol=1e-4)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_a_code_that_nothing_holds_stays_where_it_is(ridge: float) -> None:
    books = np.array([[[1.0, 0.0], [0.0, 5.0]]], dtype=np.float32)
    held = Quantisation(np.zeros((3, 1), dtype=np.int64), books)
    fitted = refit_codebooks(np.array([[3.0, 0.0]] * 3, dtype=np.float32), held, ridge=ridge)
    np.testing.assert_allclose(fitted.codebooks[0], [[(3 * 3 + ridge) / (3 + ridge), 0], [0, 5]], atol=1e-6)


def test_sums_have_length_one_and_fit_directions_as_well() -> None:
    vectors = cloud()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    greedy = residual_quantise(vectors, levels=8, codes=16)
    free, unit = (refit_codebooks(vectors, greedy, unit_length=kept).reconstruct() for kept in (False, True))
    lengths = np.linalg.norm(unit, axis=1)
    assert lengths.std() < 0.1 * np.linalg.norm(free, axis=1).std()
    assert np.abs(lengths - 1).mean() < 1e-3
    assert mean_cosine(vectors, unit) > mean_cosine(vectors, free) - 0.005


def test_codes_that_say_little_bring_lengths_nearer_to_each_other_all_the_same() -> None:
    vectors = cloud()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    greedy = residual_quantise(vectors, levels=4, codes=16)
    free, unit = (refit_codebooks(vectors, greedy, unit_length=kept).reconstruct() for kept in (False, True))
    assert np.linalg.norm(unit, axis=1).std() < 0.6 * np.linalg.norm(free, axis=1).std()
    assert mean_cosine(vectors, unit) > mean_cosine(vectors, free) - 0.05


def test_a_sum_of_length_zero_stays_one() -> None:
    vectors = np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    opposite = Quantisation(np.zeros((2, 1), dtype=np.int64), np.zeros((1, 1, 2), dtype=np.float32))
    fitted = refit_codebooks(vectors, opposite, unit_length=True)
    np.testing.assert_array_equal(fitted.reconstruct(), np.zeros((2, 2)))


def test_colliding_documents_take_the_nearest_free_code() -> None:
    books = np.array([[[10.0], [20.0], [30.0]], [[0.0], [1.0], [5.0]]], dtype=np.float32)
    vectors = np.array([[10.1], [10.4], [20.0], [10.0]], dtype=np.float32)
    codes = np.array([[0, 0], [0, 0], [1, 0], [0, 0]])
    distinct, moved = make_distinct(vectors, codes, books)
    assert moved == 2
    # 10.0 fits best and stays; then 10.1 takes 11, and 10.4 what is left under the same first code.
    assert distinct.tolist() == [[0, 1], [0, 2], [1, 0], [0, 0]]


def test_where_the_last_level_is_full_the_level_above_changes() -> None:
    books = np.array([[[10.0], [20.0]], [[0.0], [1.0]]], dtype=np.float32)
    vectors = np.full((4, 1), 10.0, dtype=np.float32)
    distinct, moved = make_distinct(vectors, np.zeros((4, 2), dtype=np.int64), books)
    assert moved == 3
    assert distinct.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_full_house_of_identical_documents() -> None:
    vectors = np.ones((81, 3), dtype=np.float32)
    quantised = residual_quantise(vectors, levels=4, codes=3)
    distinct, moved = make_distinct(vectors, quantised.codes, quantised.codebooks)
    assert moved == 80
    assert len({tuple(row) for row in distinct.tolist()}) == 81
    with pytest.raises(ConfigError, match="4 levels of 3 codes make 81 identifiers, too few for 82 distinct ones"):
        make_distinct(np.ones((82, 3)), np.zeros((82, 4), dtype=np.int64), quantised.codebooks)


def test_the_residual_table_says_what_was_moved_and_keeps_collisions_when_asked() -> None:
    corpus = [Document(f"d{i}", f"word{i // 2}") for i in range(8)]  # four texts, each twice
    scheme = ResidualScheme(levels=2, codes=16, encoder=WordEncoder())
    table = scheme.assign(corpus)
    assert table.facts["moved"] == 4
    assert table.codebooks is not None
    assert table.codebooks.shape == (2, 16, 16)
    assert table.settings["encoder"] == "words"
    shared = ResidualScheme(levels=2, codes=16, distinct=False, encoder=WordEncoder()).assign(corpus)
    assert [len(group) for group in shared.collisions().values()] == [2, 2, 2, 2]
    assert shared.facts == {"moved": 0, "mean_cosine": pytest.approx(1.0)}


def test_too_few_codes_are_refused_before_anything_is_embedded() -> None:
    corpus = [Document(f"d{i}", "text") for i in range(9)]
    for scheme in (ResidualScheme(levels=3, codes=2), RandomScheme(levels=3, codes=2)):
        with pytest.raises(ConfigError, match="3 levels of 2 codes make 8 identifiers, too few for 9"):
            scheme.assign(corpus)
    with pytest.raises(ConfigError, match="at least one level and one code, got 0 levels of 2"):
        ResidualScheme(levels=0, codes=2)
    with pytest.raises(ConfigError, match="branching of 2 or more, got 1"):
        HierarchicalScheme(branching=1)


class BrokenEncoder(WordEncoder):
    def encode(self, texts: list[str], progress: str = "") -> np.ndarray:  # type: ignore[override]
        vectors = super().encode(texts)
        vectors[1, 3] = np.nan
        return vectors


@pytest.mark.parametrize(
    "scheme", [ResidualScheme(encoder=BrokenEncoder()), HierarchicalScheme(encoder=BrokenEncoder())]
)
def test_an_embedding_that_is_not_finite_names_its_document(scheme: ResidualScheme | HierarchicalScheme) -> None:
    with pytest.raises(DataError, match="document 'second' has an embedding that is not finite"):
        scheme.assign([Document("first", "a"), Document("second", "b"), Document("third", "c")])


def test_vectors_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(documents, dimensions\), at least one of each, got \(0, 4\)"):
        residual_quantise(np.zeros((0, 4)), 2, 2)
    with pytest.raises(DataError, match=r"got \(3,\)"):
        hierarchical_codes(np.zeros(3), 2)


def test_hierarchical_codes_are_distinct_prefix_free_and_put_neighbours_together() -> None:
    vectors = 3 * cloud(20, seed=1)[np.arange(200) % 20] + 0.1 * cloud(200)
    codes = hierarchical_codes(vectors, branching=4)
    assert len(set(codes)) == 200
    assert all(after[: len(before)] != before for before, after in pairwise(sorted(codes)))
    assert max(max(row) for row in codes) < 4
    prefixes = [row[:2] for row in codes]
    together = np.array([[one == other for other in prefixes] for one in prefixes])
    distances = ((vectors[:, None] - vectors) ** 2).sum(axis=2)
    assert distances[together].mean() < 0.6 * distances[~together].mean()


def test_hierarchical_codes_of_identical_documents_split_evenly() -> None:
    codes = hierarchical_codes(np.ones((64, 3)), branching=4)
    assert len(set(codes)) == 64
    assert {len(row) for row in codes} == {3}


@pytest.mark.parametrize(("documents", "levels", "codes"), [(8, 3, 2), (5, 3, 2), (500, 2, 100), (1, 1, 1)])
def test_random_codes_are_distinct_and_in_range(documents: int, levels: int, codes: int) -> None:
    rows = random_codes(documents, levels, codes)
    assert rows.shape == (documents, levels)
    assert len({tuple(row) for row in rows.tolist()}) == documents
    assert rows.min() >= 0
    assert rows.max() < codes


def test_random_codes_are_uniform() -> None:
    rows = random_codes(4000, 8, 10)
    for column in rows.T:
        counts = np.bincount(column, minlength=10)
        assert ((counts - 400) ** 2 / 400).sum() < 35  # chi-square, 9 degrees of freedom, p < .0001


def test_mean_cosine() -> None:
    assert mean_cosine(np.array([[2.0, 0], [1, 0]]), np.array([[1.0, 0], [0, 0]])) == pytest.approx(0.5)
