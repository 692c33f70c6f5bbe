"""What an FM-index must answer, by looking everywhere; and every question put to it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch

from genir.constraints.fm_index import FMIndex

Ngram = tuple[int, ...]
Occurrences = dict[Ngram, list[tuple[int, int]]]


def scan(documents: Mapping[int, Sequence[int]], longest: int) -> Occurrences:
    """Every n-gram up to a length with its (document, offset) pairs, by looking everywhere."""
    found: Occurrences = defaultdict(list)
    for number, document in documents.items():
        for start in range(len(document)):
            for end in range(start + 1, min(start + longest, len(document)) + 1):
                found[tuple(document[start:end])].append((number, start))
    return found


def walk(index: FMIndex, longest: int) -> Iterator[tuple[Ngram, int]]:
    """Every n-gram up to a length that can be reached from the start, with its node."""
    nodes, paths = index.start(1), [()]
    for _ in range(longest):
        tokens, children, mask = index.children(nodes)
        assert tokens.dtype == children.dtype == torch.int64
        assert not tokens[~mask].any()
        assert not children[~mask].any()
        assert (tokens.diff(dim=1)[mask[:, 1:]] > 0).all()
        assert torch.equal(index.continues(nodes), mask.any(1))
        paths = [(*paths[row], int(tokens[row, place])) for row, place in mask.nonzero().tolist()]
        nodes = children[mask]
        yield from zip(paths, nodes.tolist(), strict=True)
        if not len(nodes):
            return


def assert_answers(index: FMIndex, found: Occurrences, longest: int) -> None:
    """Every method agrees with what a scan found."""
    reached = dict(walk(index, longest))
    assert reached.keys() == found.keys()
    ngrams = sorted(found)
    nodes = torch.tensor([reached[ngram] for ngram in ngrams], dtype=torch.int64)
    assert nodes.tolist() == [index.find(ngram) for ngram in ngrams]
    assert torch.equal(index.leaf(nodes), nodes)
    assert not index.settled(nodes).any()
    assert index.counts(nodes).tolist() == [len(found[ngram]) for ngram in ngrams]
    places, documents, ends = index.occurrences(nodes)
    expected = [
        (place, number, start + len(ngram)) for place, ngram in enumerate(ngrams) for number, start in found[ngram]
    ]
    assert list(zip(places.tolist(), documents.tolist(), ends.tolist(), strict=True)) == expected
    pairs = zip(*(tensor.tolist() for tensor in index.documents(nodes)), strict=True)
    assert list(pairs) == sorted({(place, number) for place, number, _ in expected})
