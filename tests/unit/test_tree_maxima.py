"""The best score behind a node equals a loop over the identifiers that go on from it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.constraints import PrefixTree
from genir.constraints.tree_maxima import TreeMaxima
from genir.errors import DataError

IDENTIFIERS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=25)


def paths_of(tree: PrefixTree) -> dict[tuple[int, ...], int]:
    """{prefix: node} of every node but the first, by walking."""
    found: dict[tuple[int, ...], int] = {}
    level = {(): int(tree.start(1)[0])}
    while level:
        below: dict[tuple[int, ...], int] = {}
        for prefix, node in level.items():
            tokens, nodes, mask = tree.children(torch.tensor([node]))
            for token, child in zip(tokens[mask].tolist(), nodes[mask].tolist(), strict=True):
                below[(*prefix, token)] = child
        found |= below
        level = below
    return found


@settings(max_examples=60, deadline=None)
@given(IDENTIFIERS, st.integers(0, 2**31))
def test_plan_equals_a_loop_over_what_lies_behind(identifiers: list[tuple[int, ...]], seed: int) -> None:
    tree = PrefixTree.build(identifiers)
    scores = torch.randn(3, len(identifiers), generator=torch.Generator().manual_seed(seed))
    plan = TreeMaxima.of(tree).plan(scores)
    for prefix, node in paths_of(tree).items():
        behind = [i for i, tokens in enumerate(identifiers) if tokens[: len(prefix)] == prefix]
        found = plan(torch.arange(3), torch.full((3, 1), node))
        assert torch.equal(found[:, 0], scores[:, behind].amax(1))
        ending = [i for i in behind if identifiers[i] == prefix]
        if ending:
            own = plan.at_leaves(torch.arange(3), torch.full((3,), node))
            assert torch.equal(own, scores[:, ending].amax(1))


def test_a_tree_that_was_changed_is_refused() -> None:
    tree = PrefixTree.build([(1, 2), (1, 3)]).with_documents([(2,)])
    with pytest.raises(DataError, match="build it again"):
        TreeMaxima.of(tree)
