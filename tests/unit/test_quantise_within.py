"""Codes of owners and, behind them, of what they own: shared beginnings, means, and what is said by more of them."""

import numpy as np

from docids.residual import mean_cosine, quantise_within, residual_quantise


def vectors(owners: int, each: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around a centre for each owner, in a shuffled order, and their owners."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.repeat(np.arange(owners), each))
    centres = rng.normal(size=(owners, 8))
    rows = centres[numbers] + spread * rng.normal(size=(len(numbers), 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), numbers


def test_what_one_owner_owns_begins_with_the_same_codes() -> None:
    rows, owners = vectors(20, 5, 0.3)
    made = quantise_within(rows, owners, 2, 4, 8)
    assert (made.codes.shape, made.codebooks.shape) == ((100, 4), (4, 8, 8))
    for owner in range(20):
        assert len(np.unique(made.codes[owners == owner, :2], axis=0)) == 1


def test_with_a_code_for_every_owner_the_beginning_is_the_mean() -> None:
    rows, owners = vectors(8, 4, 0.3)
    made = quantise_within(rows, owners, 1, 2, 8)
    for owner in range(8):
        [code] = set(made.codes[owners == owner, 0].tolist())
        np.testing.assert_allclose(made.codebooks[0, code], rows[owners == owner].mean(axis=0), atol=1e-5)


def test_one_vector_an_owner_is_said_as_well_as_by_plain_codes() -> None:
    rows, _ = vectors(64, 1, 0.3)
    plain = residual_quantise(rows, 3, 4)
    ours = quantise_within(rows, np.arange(64), 1, 3, 4)
    assert np.array_equal(ours.codes[:, 0], plain.codes[:, 0])
    assert mean_cosine(rows, ours.reconstruct()) >= mean_cosine(rows, plain.reconstruct()) - 0.01


def test_every_further_code_of_ones_own_says_more() -> None:
    rows, owners = vectors(40, 6, 0.35)
    said = [mean_cosine(rows, quantise_within(rows, owners, 2, levels, 8).reconstruct()) for levels in (3, 4, 6, 8)]
    assert said == sorted(set(said))
