"""How a DocID was written: at every token of the best document's identifier, what else the tree allowed and what the beam dropped.

The search itself is watched, so that what is told as kept was kept. It runs over the same arrays; only the nodes of each step are
written down. The shares come from a second reading along the winning path alone: softmax of the model's scores over what the tree
allowed there, whatever the search made of them.

Known gap: no walk for n-grams (no tree) and for several views a document (one document has many paths).
"""

import copy
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

import torch

from docids.spelling import spell
from docids.table import DocIDTable
from genir.constraints import PrefixTree
from genir.constraints.tree_patch import Children
from genir.protocols import Retriever
from genir.records import DocIDTokens, Query, ScoredDoc
from retrievers.generative import GenerativeRetriever
from retrievers.planning import PlanningRetriever

_SHOWN = 5  # continuations a step
_DROPPED = 2  # of them at least, where so many were dropped
_TITLES = 3  # of the documents behind one
_QUERY = "question"
_END = "■"


@dataclass(frozen=True)
class Option:
    """One continuation that the tree allowed: the token, and in words; its share (0..1) among them, whether a beam went on with it, and
    which documents lie behind it."""

    token: int
    word: str
    share: float
    kept: bool
    chosen: bool
    documents: int
    titles: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One token of the identifier: the best options, the written one first; `more` were allowed and are not shown.

    `beams` is how many prefixes the search followed in front of this token.
    """

    options: tuple[Option, ...]
    more: int
    beams: int


@dataclass(frozen=True)
class Walk:
    """The best document's identifier as it was written, a step a token."""

    doc_id: str
    title: str
    docid_tokens: DocIDTokens
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, eq=False)
class WatchedTree(PrefixTree):
    """A prefix tree that writes down which nodes were asked for their children: the live beams of every step."""

    asked: list[torch.Tensor] = field(default_factory=list)

    def children(self, nodes: torch.Tensor) -> Children:
        """As PrefixTree does."""
        self.asked.append(nodes)
        return PrefixTree.children(self, nodes)

    @classmethod
    def over(cls, tree: PrefixTree) -> "WatchedTree":
        """The same tree, watched."""
        return cls(tree.arrays, tree.documents, tree.identifiers, tree.vocab_size, tree.patch)


class Shelf:
    """Documents in the order of their identifiers, so that those behind a prefix lie side by side."""

    def __init__(
        self,
        identifiers: Mapping[str, DocIDTokens],
        titles: Mapping[str, str],
        spelling: Callable[[int], str] = str,
    ) -> None:
        """`identifiers` as they are written, end token included; `spelling` says a token in words."""
        self.identifiers = identifiers
        self.titles = titles
        self.spelling = spelling
        self._order = sorted(identifiers, key=lambda doc_id: (identifiers[doc_id], doc_id))
        self._keys = [identifiers[doc_id] for doc_id in self._order]

    def behind(self, prefix: DocIDTokens) -> Sequence[str]:
        """The doc_ids whose identifiers begin with `prefix`."""
        if not prefix:
            return self._order
        begin = bisect_left(self._keys, prefix)
        end = bisect_left(self._keys, (*prefix[:-1], prefix[-1] + 1), lo=begin)
        return self._order[begin:end]

    def title_of(self, doc_id: str) -> str:
        """A document's title, or its doc_id."""
        return self.titles.get(doc_id) or doc_id


def can_walk(retriever: Retriever) -> TypeGuard[GenerativeRetriever]:
    """Whether `search_and_walk` can draw this retriever's identifiers: one prefix tree, one identifier a document."""
    return type(retriever) in (GenerativeRetriever, PlanningRetriever)


def shelf_of(retriever: GenerativeRetriever, titles: Mapping[str, str]) -> Shelf:
    """The shelf of a generative retriever's documents."""
    end, table = retriever.index.end, retriever.identifiers

    def spelling(token: int) -> str:
        if (token,) == end:
            return _END
        return spell(table, (token,)) if isinstance(table, DocIDTable) else str(token)

    return Shelf({doc_id: tokens + end for doc_id, tokens in retriever.index.tokens().items()}, titles, spelling)


def search_and_walk(
    retriever: GenerativeRetriever, question: str, k: int, shelf: Shelf
) -> tuple[tuple[ScoredDoc, ...], Walk | None]:
    """The ranking of a question, and how its first document's identifier was written; None where nothing was found."""
    retriever.prepare()  # which may build the tree anew; the copy takes over what was made of it
    watched = WatchedTree.over(retriever.constraint)
    watching = copy.copy(retriever)
    watching.__dict__["index"] = replace(retriever.index, tree=watched)
    # A ranking for fewer documents is the beginning of that for more: all that the beam finished is wanted here.
    ranking = watching.search([Query(_QUERY, question)], max(k, retriever.settings.num_beams)).rankings[_QUERY]
    if not ranking:
        return ranking, None
    best = ranking[0].doc_id
    finished = {shelf.identifiers[one.doc_id] for one in ranking}
    steps = _steps(retriever, question, shelf, shelf.identifiers[best], finished, watched.asked)
    return ranking[:k], Walk(best, shelf.title_of(best), shelf.identifiers[best], steps)


@torch.inference_mode()
def _steps(
    retriever: GenerativeRetriever,
    question: str,
    shelf: Shelf,
    written: DocIDTokens,
    finished: Collection[DocIDTokens],
    asked: Sequence[torch.Tensor],
) -> tuple[Step, ...]:
    """A step for each token of `written`; `asked` are the nodes (N,) that the search stood at before each."""
    tree = retriever.constraint
    score = retriever.model.begin([question])
    node, last = tree.start(1), tree.start(1)
    steps = []
    for depth, token in enumerate(written):
        tokens, children, mask = tree.children(node)
        scores = score(last, None if depth == 0 else torch.zeros_like(node), tokens)[0].float()
        shares = scores.masked_fill(~mask[0], float("-inf")).softmax(0)
        live = set(asked[depth + 1].tolist()) if depth + 1 < len(asked) else set()
        columns = (row.tolist() for row in (tokens[0], shares, children[0], mask[0]))
        allowed = [
            (one, share, one == token or child in live or (*written[:depth], one) in finished)
            for one, share, child, there in zip(*columns, strict=True)
            if there
        ]
        steps.append(_step(allowed, token, written[:depth], shelf, len(asked[depth])))
        place = int((tokens[0] == token).logical_and(mask[0]).nonzero()[0])
        node, last = children[:, place], tokens[:, place]
    return tuple(steps)


def _step(
    allowed: Sequence[tuple[int, float, bool]], written: int, prefix: DocIDTokens, shelf: Shelf, beams: int
) -> Step:
    """The options to show of all that were `allowed` (token, share, kept): the written one, then the likeliest others.

    Where any were dropped, the likeliest of them are among the shown.
    """
    ranked = sorted(allowed, key=lambda one: (one[0] != written, -one[1], one[0]))
    dropped = [one for one in ranked if not one[2]][:_DROPPED]
    alive = [one for one in ranked if one[2]][: _SHOWN - len(dropped)]
    dropped = [one for one in ranked if not one[2]][: _SHOWN - len(alive)]
    options = []
    for token, share, kept in alive + dropped:
        behind = shelf.behind((*prefix, token))
        titles = tuple(shelf.title_of(doc_id) for doc_id in behind[:_TITLES])
        options.append(Option(token, shelf.spelling(token), share, kept, token == written, len(behind), titles))
    return Step(tuple(options), len(ranked) - len(options), beams)
