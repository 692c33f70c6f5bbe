"""The prefix tree accepts exactly what was inserted, whatever the lengths, and says clearly what it refuses."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.constraints import PrefixTree
from genir.errors import ArtefactError, DataError

Identifier = tuple[int, ...]
identifier_sets = st.lists(
    st.lists(st.integers(0, 4), min_size=1, max_size=5).map(tuple), min_size=1, max_size=40, unique=True
)


def walk(tree: PrefixTree) -> dict[int, Identifier]:
    """Every identifier that can be reached from the root, by leaf index."""
    found: dict[int, Identifier] = {}
    nodes, paths = tree.start(1), [()]
    while len(nodes):
        tokens, children, mask = tree.children(nodes)
        assert (tokens[~mask] == 0).all()
        assert (children[~mask] == 0).all()
        assert torch.equal(tree.continues(nodes), mask.any(1))
        paths = [(*paths[row], int(tokens[row, place])) for row, place in mask.nonzero().tolist()]
        nodes = children[mask]
        leaves = tree.leaf(nodes).tolist()
        assert len(set(leaves) - {-1}) == sum(leaf >= 0 for leaf in leaves)
        found |= {leaf: path for leaf, path in zip(leaves, paths, strict=True) if leaf >= 0}
    return found


@settings(max_examples=100, deadline=None)
@given(identifier_sets)
def test_accepts_exactly_what_was_inserted(identifiers: list[Identifier]) -> None:
    tree = PrefixTree.build(identifiers)
    assert walk(tree) == dict(enumerate(identifiers))
    assert len(tree) == len(identifiers)
    assert tree.num_nodes == 1 + len({i[:n] for i in identifiers for n in range(1, len(i) + 1)})


@settings(max_examples=30, deadline=None)
@given(identifier_sets)
def test_tokens_ascend_and_lower_nodes_have_lower_paths(identifiers: list[Identifier]) -> None:
    tree = PrefixTree.build(identifiers)
    nodes = torch.arange(tree.num_nodes)
    tokens, children, mask = tree.children(nodes)
    assert (tokens.diff(dim=1)[mask[:, 1:]] > 0).all()
    assert children[mask].tolist() == list(range(1, tree.num_nodes))
    assert tokens.dtype == children.dtype == tree.leaf(nodes).dtype == torch.int64


def test_fan_out_is_that_of_the_given_nodes() -> None:
    tree = PrefixTree.build([(1, 1), (1, 2), (1, 3), (2, 9)])
    one, two = tree.children(tree.start(1))[1][0].tolist()
    assert tree.children(torch.tensor([one, two]))[0].tolist() == [[1, 2, 3], [9, 0, 0]]
    assert tree.children(torch.tensor([two]))[0].tolist() == [[9]]
    leaf = tree.children(torch.tensor([two]))[1][0]
    assert tree.children(leaf)[2].tolist() == [[False]]
    assert tree.children(torch.tensor([], dtype=torch.int64))[0].shape == (0, 1)


def test_an_interior_token_that_two_identifiers_share_does_not_mix_them() -> None:
    # A table keyed by (position, previous token) would accept (1, 5, 8) and (2, 5, 7), which were never inserted.
    assert set(walk(PrefixTree.build([(1, 5, 7), (2, 5, 8)])).values()) == {(1, 5, 7), (2, 5, 8)}


def test_a_single_identifier() -> None:
    assert walk(PrefixTree.build([(3,)])) == {0: (3,)}


def test_one_identifier_is_a_prefix_of_another() -> None:
    tree = PrefixTree.build([(1, 2, 3), (1,), (1, 2)])
    assert walk(tree) == {0: (1, 2, 3), 1: (1,), 2: (1, 2)}
    middle = tree.children(tree.children(tree.start(1))[1][0])[1][0]
    assert tree.leaf(middle).tolist() == [2]
    assert tree.continues(middle).tolist() == [True]


@pytest.mark.parametrize(
    ("identifiers", "message"),
    [
        ([], "no identifiers: a prefix tree needs at least one"),
        ([(1,), ()], "identifier 1 is empty"),
        ([(1,), (2, -3)], "identifier 1 holds the negative token -3"),
        ([(4, 5), (1,), (4, 5)], r"identifiers 0 and 2 are both \(4, 5\)"),
    ],
)
def test_refuses(identifiers: list[Identifier], message: str) -> None:
    with pytest.raises(DataError, match=message):
        PrefixTree.build(identifiers)


def test_tokens_beyond_32_bits() -> None:
    assert walk(PrefixTree.build([(2**40, 1), (2**40, 2)])) == {0: (2**40, 1), 1: (2**40, 2)}


def test_save_and_load(tmp_path: Path) -> None:
    tree = PrefixTree.build([(1, 2), (1, 3, 4), (2,)])
    tree.save(tmp_path / "tree.safetensors")
    again = PrefixTree.load(tmp_path / "tree.safetensors")
    assert walk(again) == walk(tree)
    assert again.nbytes == tree.nbytes == 4 * (7 + 5 + 6)
    assert tree.to("cpu") is tree
    assert tree.to("meta").device.type == "meta"


def test_load_refuses_what_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"none\.safetensors: not a readable prefix tree"):
        PrefixTree.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ArtefactError, match="not a readable prefix tree"):
        PrefixTree.load(tmp_path / "text.safetensors")
