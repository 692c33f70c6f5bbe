"""What a constraint accepts, by walking it from the start, and what it should accept, from the documents themselves."""

from collections.abc import Mapping

import torch

from genir.constraints import PrefixTree

Identifier = tuple[int, ...]
# {prefix: (tokens that may follow, documents whose identifier it is, settled)}
Answers = dict[Identifier, tuple[tuple[int, ...], tuple[int, ...], bool]]


def walk(tree: PrefixTree) -> Answers:
    """Everything a tree says about every prefix that can be reached; all prefixes of a length are asked at once."""
    found: Answers = {}
    nodes, paths = tree.start(1), [()]
    leaves_seen: set[int] = set()
    while len(nodes):
        tokens, children, mask = tree.children(nodes)
        leaves = tree.leaf(nodes)
        check_shapes(tree, nodes, tokens, children, mask)
        for row, path in enumerate(paths):
            leaf = int(leaves[row])
            assert leaf not in leaves_seen
            leaves_seen |= {leaf} - {-1}
            documents = () if leaf < 0 else tree.documents_of(leaf)
            found[path] = (tuple(tokens[row][mask[row]].tolist()), documents, bool(tree.settled(nodes)[row]))
        paths = [(*paths[row], int(tokens[row, place])) for row, place in mask.nonzero().tolist()]
        nodes = children[mask]
    return found


def check_shapes(
    tree: PrefixTree, nodes: torch.Tensor, tokens: torch.Tensor, children: torch.Tensor, mask: torch.Tensor
) -> None:
    """What `Constraint` promises of every answer."""
    assert tokens.shape == children.shape == mask.shape
    assert mask.shape[0] == len(nodes)
    assert mask.shape[1] == max(int(mask.sum(1).max()), 1)
    assert tokens.dtype == children.dtype == tree.leaf(nodes).dtype == torch.int64
    assert mask.dtype == tree.settled(nodes).dtype == tree.continues(nodes).dtype == torch.bool
    assert (tokens[~mask] == 0).all()
    assert (children[~mask] == 0).all()
    assert (tokens.diff(dim=1)[mask[:, 1:]] > 0).all()
    assert torch.equal(tree.continues(nodes), mask.any(1))


def expected(documents: Mapping[int, Identifier]) -> Answers:
    """The same from {document number: identifier}, by brute force."""
    holders: dict[Identifier, list[int]] = {}
    for number in sorted(documents):
        holders.setdefault(documents[number], []).append(number)
    answers: Answers = {}
    for prefix in {()} | {identifier[:length] for identifier in holders for length in range(1, len(identifier) + 1)}:
        behind = [identifier for identifier in holders if identifier[: len(prefix)] == prefix]
        following = {identifier[len(prefix)] for identifier in behind if identifier != prefix}
        settled = len(behind) == 1 and behind[0] != prefix
        answers[prefix] = (tuple(sorted(following)), tuple(holders.get(prefix, ())), settled)
    return answers
