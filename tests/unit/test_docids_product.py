"""Product quantisation: parts, rotations, codebooks that sum to the document, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from docids.product import ProductScheme, Rotation, principal_axes, product_quantise
from docids.quality import diagnose
from docids.residual import Quantisation
from genir.embedding import TextEncoder
from genir.errors import ConfigError, DataError
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.records import Document
from tests.tiny_text_models import WordEncoder, save_tiny_bert


def cloud(rows: int = 300, width: int = 12, seed: int = 0) -> np.ndarray:
    """Correlated vectors: a rotation pays."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((width, width)) * np.linspace(2, 0.1, width)[:, None]
    return (rng.standard_normal((rows, width)) @ mix + 1).astype(np.float32)


def squared_error(vectors: np.ndarray, quantised: Quantisation) -> float:
    return float(((vectors - quantised.reconstruct()) ** 2).sum())


def test_two_parts_by_hand() -> None:
    left, right = np.array([[1.0, 0], [5, 5]]), np.array([[0.0, 2], [7, 7]])
    vectors = np.array([[*one, *other] for one in left for other in right], dtype=np.float32)
    quantised = product_quantise(vectors, levels=2, codes=2)
    assert quantised.codes.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    np.testing.assert_array_equal(quantised.codebooks[0], [[1, 0, 0, 0], [5, 5, 0, 0]])
    np.testing.assert_array_equal(quantised.codebooks[1], [[0, 0, 0, 2], [0, 0, 7, 7]])
    np.testing.assert_array_equal(quantised.reconstruct(), vectors)


def test_dimensions_that_the_levels_do_not_divide_are_all_used() -> None:
    quantised = product_quantise(cloud(width=11), levels=4, codes=8)
    used = (quantised.codebooks != 0).any(axis=1)
    assert used.sum(axis=1).tolist() == [3, 3, 3, 2]
    assert used.sum(axis=0).tolist() == [1] * 11


def test_principal_axes_are_orthogonal_and_sorted_by_variance() -> None:
    vectors = cloud()
    variances, axes = principal_axes(vectors)
    np.testing.assert_allclose(axes.T @ axes, np.eye(12), atol=1e-5)
    assert (np.diff(variances) <= 0).all()
    np.testing.assert_allclose((vectors @ axes).var(axis=0), variances, rtol=1e-3)


@pytest.mark.parametrize("rotation", ["none", "pca", "opq"])
def test_codebooks_of_different_levels_are_orthogonal(rotation: Rotation) -> None:
    books = product_quantise(cloud(), levels=3, codes=16, rotation=rotation).codebooks
    for one, other in ((0, 1), (0, 2), (1, 2)):
        np.testing.assert_allclose(books[one] @ books[other].T, 0, atol=1e-3)


def test_every_vector_has_the_nearest_of_all_sums_of_codes() -> None:
    """The point of a product: the best code of every part is the best identifier altogether."""
    vectors = cloud(60, 6)
    quantised = product_quantise(vectors, levels=2, codes=4, rotation="pca")
    sums = quantised.codebooks[0][:, None] + quantised.codebooks[1][None]
    distances = ((vectors[:, None, None] - sums) ** 2).sum(axis=-1).reshape(60, -1)
    chosen = quantised.codes[:, 0] * 4 + quantised.codes[:, 1]
    np.testing.assert_allclose(distances[np.arange(60), chosen], distances.min(axis=1), rtol=1e-3, atol=1e-3)


def test_opq_reconstructs_better_than_no_rotation_and_the_principal_axes_put_most_first() -> None:
    vectors = cloud(600)
    plain, pca, opq = (
        product_quantise(vectors, levels=4, codes=16, rotation=rotation) for rotation in ("none", "pca", "opq")
    )
    assert squared_error(vectors, opq) < 0.9 * squared_error(vectors, plain)
    assert pca.codebooks[0].var(axis=0).sum() > 2 * pca.codebooks[1].var(axis=0).sum()


def test_the_table_reconstructs_from_its_codebooks_and_says_what_was_moved() -> None:
    corpus = [Document(f"d{i}", f"word{i // 2} lake") for i in range(8)]  # four texts, each twice
    table = ProductScheme(levels=2, codes=16, encoder=WordEncoder()).assign(corpus)
    assert table.facts["moved"] == 4
    assert table.codebooks is not None
    assert table.codebooks.shape == (2, 16, 16)
    assert table.vocab_size == 32
    vectors = WordEncoder().encode([document.text for document in corpus])
    assert diagnose(table, vectors)["reconstruction"]["mean_cosine"] == pytest.approx(table.facts["mean_cosine"])
    shared = ProductScheme(levels=2, codes=16, distinct=False, encoder=WordEncoder()).assign(corpus)
    assert [len(group) for group in shared.collisions().values()] == [2, 2, 2, 2]
    assert shared.facts == {"moved": 0, "mean_cosine": pytest.approx(1.0)}


def test_an_untrained_model_ranks_like_the_quantised_dense_index(tmp_path: Path) -> None:
    """Also where documents were moved, and where the space was rotated: what code_decoder starts from is the table's."""
    encoder = save_tiny_bert(tmp_path, 16)
    texts = [f"town {i // 2} at lake {i // 2 * 3}" for i in range(12)]
    embed = TextEncoder(str(encoder), precision="float32")
    table = ProductScheme(levels=3, codes=4, encoder=embed).assign(
        [Document(f"d{i}", text) for i, text in enumerate(texts)]
    )
    assert table.codebooks is not None
    model = CodeDecoder(CodeDecoderConfig(str(encoder), heads=2, feedforward=16), table.vocab_size, 3, None).eval()
    model.start_from_codebooks(table.codebooks)
    codes = np.array(table.identifiers()) % 4
    quantised = Quantisation(codes, table.codebooks).reconstruct()
    expected = embed.encode(texts[:2]) @ quantised.T
    np.testing.assert_allclose(model.score(texts[:2], table.identifiers()).detach(), expected, atol=1e-4)


def test_what_cannot_be_is_refused() -> None:
    corpus = [Document(f"d{i}", "text") for i in range(9)]
    with pytest.raises(ConfigError, match="3 levels of 2 codes make 8 identifiers, too few for 9 distinct ones"):
        ProductScheme(levels=3, codes=2).assign(corpus)
    with pytest.raises(ConfigError, match="17 levels cut embeddings of 16 dimensions into nothing; lower levels"):
        ProductScheme(levels=17, codes=2, encoder=WordEncoder()).assign(corpus)
    with pytest.raises(ConfigError, match="unknown rotation 'PCA': did you mean 'pca'"):
        ProductScheme(rotation="PCA")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"row 1 has an embedding that is not finite \(one of 1\)"):
        product_quantise(np.array([[0.0, 1], [np.nan, 0]]), 1, 1)
