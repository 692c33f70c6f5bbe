"""Codes assigned anew: balance, revival, distinctness, and that little changes where nothing is gained."""

from pathlib import Path

import numpy as np
import pytest

from docids.distinct import make_distinct
from docids.learned import Reassignment, choose_codes, codes_of, reassign, reassigned_table
from docids.quality import diagnose
from docids.random_control import RandomScheme
from docids.residual import Quantisation, ResidualScheme, residual_quantise
from docids.table import DocIDTable
from genir.errors import ArtefactError, ConfigError, DataError
from genir.records import Document
from tests.tiny_text_models import WordEncoder


def cloud(rows: int = 200, width: int = 6, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def largest(codes: np.ndarray) -> list[int]:
    return [int(np.bincount(column).max()) for column in codes.T]


def error(vectors: np.ndarray, quantised: Quantisation) -> float:
    return float(((vectors - quantised.reconstruct()) ** 2).sum())


def test_a_code_keeps_its_nearest_rows_and_sends_the_others_on() -> None:
    costs = np.array([[0.2, 0.5, 0.9], [0.1, 0.3, 0.9], [0.3, 0.8, 0.4], [0.9, 0.2, 0.1]])
    assert choose_codes(costs, np.full(3, 4)).tolist() == [0, 0, 0, 2]
    # row 1 is nearest to code 0; row 0 goes on to code 1; row 2 to code 2, which has row 3 and keeps the nearer
    assert choose_codes(costs, np.full(3, 1)).tolist() == [1, 0, -1, 2]
    assert choose_codes(costs, np.full(3, 2)).tolist() == [0, 0, 2, 2]


def test_no_row_and_no_code_would_both_rather_have_each_other() -> None:
    costs = np.random.default_rng(1).random((40, 8))
    labels = choose_codes(costs, np.full(8, 5))
    assert np.bincount(labels, minlength=8).tolist() == [5] * 8
    worst = np.array([costs[labels == code, code].max() for code in range(8)])
    own = costs[np.arange(40), labels]
    assert not ((costs < own[:, None]) & (costs < worst)).any()


def test_a_group_shares_a_code_only_where_there_is_room() -> None:
    costs = np.tile([0.1, 0.2, 0.3], (5, 1))
    groups = np.array([0, 0, 0, 1, 0])
    labels = choose_codes(costs, np.full(3, 5), groups=groups)
    assert labels.tolist() == [0, 1, 2, 0, -1]  # the fourth of group 0 has nowhere to go
    assert choose_codes(costs, np.full(3, 5), groups=groups, room=3).tolist() == [0, 0, 0, 0, 1]
    assert choose_codes(costs, np.full(3, 3), groups=groups, room=3).tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("slack", [1.2, 1.5, 3.0])
def test_no_code_takes_more_than_its_capacity(slack: float) -> None:
    vectors = cloud()
    vectors[:80] = vectors[0] + 0.01 * cloud(80, seed=2)  # two fifths of the documents in one place
    present = residual_quantise(vectors, levels=3, codes=8)
    assert largest(present.codes)[0] > 25 * slack
    made = reassign(vectors, present, Reassignment(slack, shrink=0.0))
    assert max(largest(made.quantised.codes)) <= np.ceil(25 * slack)
    assert made.moved == 0
    assert len(np.unique(made.quantised.codes, axis=0)) == 200


def test_a_code_that_holds_more_keeps_them_and_does_not_grow() -> None:
    vectors = cloud()
    present = residual_quantise(vectors, levels=3, codes=8)
    before = np.bincount(present.codes[:, 0], minlength=8)
    drifted = cloud() + 0.6 * vectors[:1]  # all documents towards one of them
    after = {}
    for shrink in (1.0, 0.5):
        how = Reassignment(slack=1.04, shrink=shrink, inertia=0.0)
        after[shrink] = np.bincount(reassign(drifted, present, how).quantised.codes[:, 0], minlength=8)
        assert (after[shrink] <= how.capacities(before)).all()
    assert before.max() > 26 == after[0.5].max()  # 1.04 * 200 / 8
    assert after[1.0].max() > 26
    assert Reassignment(slack=1.5, shrink=0.5).capacities(np.array([2, 0, 10, 4])).tolist() == [6, 6, 6, 6]
    assert Reassignment(slack=1.5, shrink=0.9).capacities(np.array([2, 0, 10, 4])).tolist() == [6, 6, 9, 6]


def test_fixed_levels_keep_their_codes_and_a_prefix_grows() -> None:
    vectors = cloud()
    greedy = residual_quantise(vectors, levels=4, codes=8)
    present = Quantisation(make_distinct(vectors, greedy.codes, greedy.codebooks)[0], greedy.codebooks)
    drifted = cloud(seed=0) + 0.4 * cloud(seed=5)
    changed = []
    for fixed in (0, 2, 3, 4):
        made = reassign(drifted, present, Reassignment(fixed=fixed))
        np.testing.assert_array_equal(made.quantised.codes[:, :fixed], present.codes[:, :fixed])
        changed.append(int((made.quantised.codes != present.codes).sum()))
    assert changed == sorted(changed, reverse=True)
    assert changed[0] > changed[-1]


def test_inertia_keeps_codes() -> None:
    vectors = cloud() + 0.3 * cloud(seed=5)
    present = residual_quantise(cloud(), levels=3, codes=8)
    changed = [reassign(vectors, present, Reassignment(inertia=share)).changed for share in (0.0, 0.3, 0.9)]
    assert changed == sorted(changed, reverse=True)
    assert changed[0] > 2 * changed[-1]


def test_vectors_that_moved_are_rebuilt_better() -> None:
    present = residual_quantise(cloud(), levels=3, codes=8)
    moved = cloud() + 0.3 * cloud(seed=5)
    assert error(moved, reassign(moved, present, Reassignment(ridge=4.0)).quantised) < 0.95 * error(moved, present)


def test_a_strong_ridge_holds_the_codebooks() -> None:
    present = residual_quantise(cloud(), levels=3, codes=8)
    moved = cloud() + 0.3 * cloud(seed=5)
    held, free = (reassign(moved, present, Reassignment(ridge=ridge)).quantised for ridge in (1e6, 0.1))
    np.testing.assert_allclose(held.codebooks, present.codebooks, atol=1e-3)
    assert error(moved, free) < error(moved, held)


def test_a_dead_code_revives() -> None:
    vectors = cloud()
    present = residual_quantise(vectors, levels=3, codes=8)
    books = present.codebooks.copy()
    books[0, 5] = 100.0  # nothing is near it
    codes = present.codes.copy()
    codes[codes[:, 0] == 5, 0] = 4
    made = reassign(vectors, Quantisation(codes, books), Reassignment(slack=8.0))
    assert made.revived >= 1
    assert np.bincount(made.quantised.codes[:, 0], minlength=8).min() > 0
    assert np.abs(made.quantised.codebooks[0, 5]).max() < 2.0


def test_fewer_documents_than_codes() -> None:
    vectors = cloud(20)
    made = reassign(vectors, residual_quantise(vectors, levels=2, codes=32))
    assert len(np.unique(made.quantised.codes, axis=0)) == 20
    assert made.quantised.codebooks.shape == (2, 32, 6)


def test_duplicates_are_kept_apart_even_where_there_are_more_than_codes() -> None:
    vectors = np.ones((40, 4), dtype=np.float32)
    made = reassign(vectors, residual_quantise(vectors, levels=3, codes=4), Reassignment(slack=1.5))
    assert len(np.unique(made.quantised.codes, axis=0)) == 40


def test_the_same_seed_gives_the_same_codes() -> None:
    vectors = cloud()
    present = residual_quantise(cloud(seed=9), levels=3, codes=8)
    one, same, other = (reassign(vectors, present, Reassignment(seed=seed)).quantised for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.codes, same.codes)
    np.testing.assert_array_equal(one.codebooks, same.codebooks)
    assert other.codes.shape == one.codes.shape


def corpus(size: int = 30) -> list[Document]:
    words = "moon river copper lake Oslo Lima desert planet engine violin".split()
    rng = np.random.default_rng(0)
    return [Document(f"d{i}", " ".join(rng.choice(words, 5))) for i in range(size)]


def test_a_table_is_assigned_anew_and_says_so() -> None:
    start = ResidualScheme(levels=3, codes=8, encoder=WordEncoder()).assign(corpus())
    assert start.codebooks is not None
    vectors = cloud(30, 16)
    table, made = reassigned_table(start, vectors, start.codebooks, settings={"rounds": 2})
    assert table.scheme == "learned"
    assert list(table.tokens) == list(start.tokens)
    assert (table.vocab_size, table.codes_per_level, len(table.identifiers())) == (24, 8, 30)
    assert table.settings["start"]["scheme"] == "residual"
    assert table.settings["rounds"] == 2
    assert table.facts["changed"] == made.changed > 0
    np.testing.assert_array_equal(codes_of(table), made.quantised.codes)
    again, _ = reassigned_table(table, vectors, made.quantised.codebooks, settings={"rounds": 2})
    assert again.settings == table.settings  # the start is told once
    assert diagnose(again, vectors)["collision_rate"] == 0


def test_a_learned_table_goes_to_disk_and_back(tmp_path: Path) -> None:
    start = ResidualScheme(levels=3, codes=8, encoder=WordEncoder()).assign(corpus())
    assert start.codebooks is not None
    table, _ = reassigned_table(start, cloud(30, 16), start.codebooks)
    table.save(tmp_path / "docids")
    loaded = DocIDTable.load(tmp_path / "docids")
    assert (dict(loaded.tokens), loaded.scheme, loaded.settings) == (dict(table.tokens), "learned", table.settings)
    np.testing.assert_array_equal(loaded.codebooks, table.codebooks)


def test_a_vector_that_is_not_finite_names_its_document() -> None:
    start = ResidualScheme(levels=3, codes=8, encoder=WordEncoder()).assign(corpus())
    assert start.codebooks is not None
    vectors = cloud(30, 16)
    vectors[7, 3] = np.nan
    with pytest.raises(DataError, match="document 'd7' has an embedding that is not finite"):
        reassigned_table(start, vectors, start.codebooks)


def test_what_does_not_fit_is_refused() -> None:
    present = residual_quantise(cloud(), levels=2, codes=8)
    with pytest.raises(ConfigError, match=r"vectors of shape \(200, 5\) do not fit codes of shape \(200, 2\)"):
        reassign(cloud(width=5), present)
    with pytest.raises(ConfigError, match="2 levels of 8 codes make 64 identifiers, too few for 200"):
        reassign(cloud(), present)
    table = RandomScheme(levels=2, codes=8).assign(corpus())
    with pytest.raises(ArtefactError, match="random identifiers have no codebooks, so a model cannot learn them"):
        codes_of(table)
    with pytest.raises(ConfigError, match=r"impossible re-assignment: .*expected slack >= 1"):
        Reassignment(slack=0.5)
