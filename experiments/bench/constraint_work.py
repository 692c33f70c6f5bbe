"""What the prefix benchmark times: a constraint's part of one step of a search, where a search's beams stand, and whole searches.

Shape letters: N beams, L identifier length.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genir.allowed_scores import allowed_scores
from genir.beam_search import beam_search
from genir.beam_selection import select
from genir.constraints import PrefixTree
from genir.protocols import Scoring

LENGTH, CODES = 8, 2048
BEAMS, STEP_BEAMS = 640, 10  # of a step, and of each of its queries
QUERIES, QUERY_BEAMS = 9, 70  # of a search


def walk(tree: PrefixTree, identifiers: NDArray[np.int16], level: int) -> torch.Tensor:
    """The nodes (N,) behind the first `level` tokens of identifiers (N, L)."""
    wanted = torch.from_numpy(identifiers.astype(np.int64)).to(tree.device)
    nodes = tree.start(len(wanted))
    for column in range(level):
        parts = []
        for start in range(0, len(nodes), 64):  # few at a time: the first levels are wide
            part = slice(start, start + 64)
            tokens, children, mask = tree.children(nodes[part])
            parts.append(children[(tokens == wanted[part, column, None]) & mask])
        nodes = torch.cat(parts)
    return nodes


def widest_level(tree: PrefixTree, identifiers: NDArray[np.int16]) -> tuple[int, int]:
    """Of the levels behind two tokens or more, that at which these beams have the widest fan-out, and this."""
    fan_outs = [tree.children(walk(tree, identifiers, level))[2].shape[1] for level in range(2, LENGTH)]
    return 2 + int(np.argmax(fan_outs)), max(fan_outs)


def beams_of_a_search(tree: PrefixTree, generator: np.random.Generator, level: int) -> torch.Tensor:
    """The nodes (N,) at which a search over random log-probabilities, ten beams a query, stands after `level` tokens."""
    query = torch.arange(BEAMS // STEP_BEAMS)
    nodes, scores = tree.start(len(query)), torch.zeros(len(query))
    for _ in range(level):
        tokens, children, mask = tree.children(nodes)
        logits = torch.from_numpy(generator.standard_normal((len(nodes), CODES), np.float32)).log_softmax(1)
        extended = (scores[:, None] + logits.gather(1, tokens)).masked_fill_(~mask, float("-inf"))
        rows, places = select(extended, query, STEP_BEAMS).unbind(1)
        query, nodes, scores = query[rows], children[rows, places], extended[rows, places]
    return nodes


def step(tree: PrefixTree, nodes: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What the constraint adds to a model's step; the first child of every beam stands for what is chosen."""
    settled = tree.settled(nodes)
    tokens, children, mask = tree.children(nodes)
    scores = allowed_scores(logits, tokens, mask)
    chosen = children[:, 0]
    return settled, scores, tree.leaf(chosen), tree.continues(chosen)


def make_search(tree: PrefixTree, generator: np.random.Generator, scoring: Scoring) -> Callable[[], Any]:
    """A search over prepared numbers: logits, of which "vocabulary" takes the log-softmax at each step, as STATIC's does."""
    shape = (LENGTH, QUERIES * QUERY_BEAMS, CODES)
    prepared = torch.from_numpy(generator.standard_normal(shape, np.float32))

    def search() -> Any:
        step = iter(prepared)

        def next_token(
            tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor | None
        ) -> torch.Tensor:
            logits: torch.Tensor = next(step)[: len(tokens)]
            return logits if allowed is None else logits.gather(1, allowed)

        return beam_search(next_token, tree, QUERIES, QUERY_BEAMS, scoring=scoring)

    return search
