"""The prefix tree accepts exactly what was inserted, whatever the lengths, and says clearly what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.constraints import PrefixTree
from genir.errors import DataError
from tests.identifier_walks import Identifier, check_shapes, expected, walk


def documents_with(tokens: st.SearchStrategy[int]) -> st.SearchStrategy[list[Identifier]]:
    return st.lists(st.lists(tokens, min_size=1, max_size=6).map(tuple), min_size=1, max_size=40)


few_tokens = documents_with(st.integers(0, 3))
any_tokens = documents_with(st.one_of(st.integers(0, 2**31 - 1), st.sampled_from([0, 32767, 32768, 2**31 - 1])))


@settings(max_examples=150, deadline=None)
@given(st.one_of(few_tokens, any_tokens))
def test_accepts_exactly_what_was_inserted(identifiers: list[Identifier]) -> None:
    tree = PrefixTree.build(identifiers)
    assert walk(tree) == expected(dict(enumerate(identifiers)))
    assert len(tree) == len(set(identifiers))
    assert tree.num_documents == len(identifiers)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 300), st.randoms(use_true_random=False))
def test_an_array_is_its_rows(count: int, length: int, codes: int, random: object) -> None:
    array = np.random.default_rng(random.getrandbits(32)).integers(0, codes, (count, length))  # type: ignore[attr-defined]
    documents = {number: tuple(row) for number, row in enumerate(array.tolist())}
    for given_as in (array, array.astype(np.uint16), torch.from_numpy(array), np.asfortranarray(array)):
        assert walk(PrefixTree.build(given_as, codes)) == expected(documents)


def test_nodes_of_all_kinds_in_one_call() -> None:
    tree = PrefixTree.build([(1, 1), (1, 2), (1, 3), (2, 9), (7,)])
    one, two, seven = tree.children(tree.start(1))[1][0].tolist()
    nodes = torch.tensor([seven, one, two, 0, two])
    tokens, children, mask = tree.children(nodes)
    check_shapes(tree, nodes, tokens, children, mask)
    assert tokens.tolist() == [[0, 0, 0], [1, 2, 3], [9, 0, 0], [1, 2, 7], [9, 0, 0]]
    assert tree.leaf(children[mask]).tolist() == [0, 1, 2, 3, -1, -1, 4, 3]
    assert tree.leaf(nodes.view(5, 1)).shape == tree.settled(nodes.view(5, 1)).shape == (5, 1)
    assert tree.settled(nodes).tolist() == [False, False, True, False, True]
    assert tree.children(torch.tensor([two]))[0].tolist() == [[9]]
    assert tree.children(torch.tensor([seven]))[2].tolist() == [[False]]


@pytest.mark.parametrize("most", [3, 2**31 - 1])
def test_tensor_operations_answer_as_the_compiled_loop_does(most: int) -> None:
    pytest.importorskip("numba", reason="without numba there are tensor operations only")
    drawn = np.random.default_rng(0).integers(0, most, (500, 4)) if most > 3 else [(1,), (1, 2), (1, 3, 0), (2, 2, 2)]
    arrays = PrefixTree.build(drawn).arrays
    for nodes in (torch.arange(arrays.explicit), torch.arange(arrays.explicit + 3), torch.tensor([arrays.explicit, 0])):
        loop, gathers = arrays.children(nodes, 7), arrays._gather(nodes, 7)
        assert all(torch.equal(one, other) for one, other in zip(loop, gathers, strict=True))


def test_no_nodes() -> None:
    tree = PrefixTree.build([(1, 1), (1, 2)])
    nothing = torch.zeros(0, dtype=torch.int64)
    assert [part.shape for part in tree.children(nothing)] == [(0, 1)] * 3
    assert tree.leaf(nothing).shape == tree.settled(nothing).shape == tree.continues(nothing).shape == (0,)


def test_an_interior_token_that_two_identifiers_share_does_not_mix_them() -> None:
    # A table keyed by (position, previous token) would accept (1, 5, 8) and (2, 5, 7), which were never inserted.
    documents = {0: (1, 5, 7), 1: (2, 5, 8)}
    assert walk(PrefixTree.build(list(documents.values()))) == expected(documents)


def test_a_single_identifier_is_settled_from_the_start() -> None:
    tree = PrefixTree.build([(3, 4)])
    assert tree.settled(tree.start(2)).tolist() == [True, True]
    assert walk(tree) == expected({0: (3, 4)})


def test_one_identifier_is_a_prefix_of_another() -> None:
    tree = PrefixTree.build([(1, 2, 3), (1,), (1, 2)])
    assert walk(tree) == expected({0: (1, 2, 3), 1: (1,), 2: (1, 2)})
    middle = tree.children(tree.children(tree.start(1))[1][0])[1][0]
    assert tree.leaf(middle).tolist() == [2]
    assert tree.continues(middle).tolist() == [True]
    assert tree.settled(middle).tolist() == [False]


def test_leaves_of_distinct_identifiers_are_positions() -> None:
    tree = PrefixTree.build([(5,), (3,), (4,)])
    assert tree.leaf(tree.children(tree.start(1))[1][0]).tolist() == [1, 2, 0]
    assert tree.documents_of(2) == (2,)


def test_many_documents_on_one_leaf() -> None:
    tree = PrefixTree.build([(1, 2)] * 10_000 + [(1, 3)])
    nodes = tree.children(tree.children(tree.start(1))[1][0])[1][0]
    two, three = tree.leaf(nodes).tolist()
    assert tree.documents_of(two) == tuple(range(10_000))
    assert tree.documents_of(three) == (10_000,)
    assert (len(tree), tree.num_documents) == (2, 10_001)


def test_long_identifiers_that_differ_at_their_end_only() -> None:
    documents = {number: (*[7] * 200, number % 3, number % 2) for number in range(9)}
    assert walk(PrefixTree.build(list(documents.values()))) == expected(documents)


def test_more_documents_than_16_bits_and_a_large_vocabulary() -> None:
    drawn = torch.from_numpy(np.random.default_rng(0).integers(0, 256_000, (70_000, 3)))
    tree = PrefixTree.build(drawn, 256_000)
    tokens, children, _ = tree.children(tree.start(1))
    nodes = children[0][torch.searchsorted(tokens[0], drawn[:, 0].contiguous())]
    for level in (1, 2):
        tokens, children, mask = tree.children(nodes)
        hits = (tokens == drawn[:, level, None]) & mask
        assert (hits.sum(1) == 1).all()
        nodes = children[hits]
    assert all(number in tree.documents_of(leaf) for number, leaf in enumerate(tree.leaf(nodes).tolist()))


def test_memory_a_document() -> None:
    tree = PrefixTree.build(np.random.default_rng(0).integers(0, 2048, (20_000, 8)), 2048)
    assert tree.nbytes < 50 * 20_000


@pytest.mark.parametrize(
    ("identifiers", "message"),
    [
        ([], "no identifiers: a prefix tree needs at least one"),
        (np.zeros((0, 4), int), "no identifiers: a prefix tree needs at least one"),
        ([(1,), ()], "identifier 1 is empty; every identifier needs at least one token"),
        (np.zeros((3, 0), int), "identifier 0 is empty"),
        ([(1,), (2, -3)], "identifier 1 holds the negative token -3; tokens start at 0"),
        (
            [(1,), (2,), (9, 10)],
            "identifier 2 holds token 10, expected 0 to 9; give the identifiers of this vocabulary",
        ),
        (np.array([[1, 2], [3, 11]]), "identifier 1 holds token 11, expected 0 to 9"),
        ([(2**70,)], "an identifier holds a number beyond 64 bits, expected 0 to 2147483647"),
        (np.zeros(3, int), r"an array of int64 and shape \(3,\), expected integers and two dimensions"),
        (np.zeros((3, 2)), r"an array of float64 and shape \(3, 2\), expected integers and two dimensions"),
    ],
)
def test_refuses(identifiers: list[Identifier], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        PrefixTree.build(identifiers, 10)
    assert "\n" not in str(error.value)


def test_refuses_tokens_beyond_31_bits() -> None:
    with pytest.raises(DataError, match="identifier 1 holds token 2147483648, expected 0 to 2147483647"):
        PrefixTree.build([(1,), (5, 2**31)])


@pytest.mark.parametrize("leaf", [-1, 2])
def test_a_leaf_that_is_none(leaf: int) -> None:
    with pytest.raises(DataError, match=f"no leaf {leaf}: leaves are document numbers, 0 to 1"):
        PrefixTree.build([(1,), (2,)]).documents_of(leaf)


def test_other_devices() -> None:
    tree = PrefixTree.build([(1, 2), (1, 3, 4), (2,)])
    assert tree.to("cpu") is tree
    assert tree.to("meta").device.type == "meta"
    assert tree.with_documents([(5,)]).to("meta").device.type == "meta"


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    documents = {0: (1, 2), 1: (1, 3, 4), 2: (2,), 3: (2, 5)}
    tree = PrefixTree.build(list(documents.values())).to("cuda")
    assert walk(tree) == expected(documents)
    assert walk(tree.with_documents([(1, 2, 7)]).without_documents([0])) == expected(
        {1: (1, 3, 4), 2: (2,), 3: (2, 5), 4: (1, 2, 7)}
    )


@pytest.mark.parametrize("token", [1.9, "2", None, 2**70])
def test_refuses_what_is_no_token(token: object) -> None:
    with pytest.raises(
        DataError, match=r"an identifier holds (something that is no whole number|a number beyond 64 bits)"
    ):
        PrefixTree.build([(1, token)])  # type: ignore[list-item]
    with pytest.raises(DataError, match="the documents to delete hold"):
        PrefixTree.build([(1, 2), (3,)]).without_documents([token])  # type: ignore[list-item]


def test_refuses_a_tensor_of_floats() -> None:
    with pytest.raises(DataError, match=r"a tensor of torch\.bfloat16, expected integers"):
        PrefixTree.build(torch.ones(2, 2, dtype=torch.bfloat16))
