"""Beam search against a plain-Python beam search and against scoring everything, with a small recurrent model."""

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.beam_search import Hypothesis, beam_search
from genir.constraints import PrefixTree
from genir.errors import ConfigError, DataError, GenirError
from genir.protocols import NextToken, Scoring

Identifier = tuple[int, ...]
VOCAB = 7
identifier_sets = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=4).map(tuple), min_size=1, max_size=25, unique=True
)
scorings = st.sampled_from(get_args(Scoring))


def named(logits: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """What a NextToken returns: all logits, or those of the tokens that were named."""
    return logits if allowed is None else logits.gather(1, allowed)


class Recurrent:
    """Logits that depend on the query and on every token so far, so that a wrongly reordered state shows."""

    def __init__(self, batch_size: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.embeddings = torch.randn(VOCAB, 8, generator=generator)
        self.mix = torch.randn(8, 8, generator=generator)
        self.out = torch.randn(8, VOCAB, generator=generator)
        self.state = torch.randn(batch_size, 8, generator=generator)
        self.query = torch.arange(batch_size)
        self.rows: list[list[int]] = []  # the query of every row, per call

    def __call__(
        self, tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor | None = None
    ) -> torch.Tensor:
        if parents is not None:
            self.state = torch.tanh(self.state[parents] @ self.mix + self.embeddings[tokens])
            self.query = self.query[parents]
        self.rows.append(self.query.tolist())
        return named(self.state @ self.out, allowed)


def path_scores(batch_size: int, query: int, path: Identifier, allowed: dict, scoring: Scoring, seed: int) -> float:
    """The sum of a path's scores, one query and one token at a time."""
    model, total = Recurrent(batch_size, seed), 0.0
    logits = model(torch.zeros(batch_size, dtype=torch.int64), None)[query]
    for length, token in enumerate(path):
        if scoring == "vocabulary":
            logits = logits.log_softmax(0)
        elif scoring == "allowed":
            kept = torch.full_like(logits, -math.inf)
            kept[allowed[path[:length]]] = logits[allowed[path[:length]]]
            logits = kept.log_softmax(0)
        total += float(logits[token])
        parent = torch.tensor([query if length == 0 else 0])
        logits = model(torch.tensor([token]), parent)[0]
    return total


def continuations(identifiers: list[Identifier]) -> dict[Identifier, list[int]]:
    allowed: dict[Identifier, set[int]] = {}
    for identifier in identifiers:
        for length, token in enumerate(identifier):
            allowed.setdefault(identifier[:length], set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in allowed.items()}


def plain_beam_search(
    identifiers: list[Identifier], score: Callable[[Identifier], float], num_beams: int, length_penalty: float
) -> list[tuple[Identifier, float]]:
    """The selection rule of the module's docstring, for one query and without any early stop."""
    allowed, known = continuations(identifiers), set(identifiers)
    running: list[Identifier] = [()]
    finished: list[tuple[float, Identifier]] = []
    while running:
        candidates = sorted((-score((*path, token)), (*path, token)) for path in running for token in allowed[path])
        done = [path for _, path in candidates[:num_beams] if path in known]
        finished = sorted(finished + [(-score(path) / len(path) ** length_penalty, path) for path in done])[:num_beams]
        running = [path for _, path in candidates if path in allowed][:num_beams]
    return [(path, -score) for score, path in finished]


def assert_same(found: list[Hypothesis], expected: list[tuple[Identifier, float]]) -> None:
    assert [hypothesis.tokens for hypothesis in found] == [path for path, _ in expected]
    assert [hypothesis.score for hypothesis in found] == pytest.approx([score for _, score in expected], abs=1e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(identifier_sets, st.integers(1, 6), scorings, st.integers(0, 99))
def test_equals_a_plain_beam_search(identifiers: list[Identifier], num_beams: int, scoring: Scoring, seed: int) -> None:
    tree, allowed = PrefixTree.build(identifiers), continuations(identifiers)
    found = beam_search(Recurrent(3, seed), tree, 3, num_beams, scoring=scoring)
    for query, row in enumerate(found):

        def score(path: Identifier, query: int = query) -> float:
            return path_scores(3, query, path, allowed, scoring, seed)

        assert_same(row, plain_beam_search(identifiers, score, num_beams, 0.0))
        assert all(identifiers[hypothesis.leaf] == hypothesis.tokens for hypothesis in row)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(identifier_sets, scorings, st.sampled_from([0.0, 1.0]), st.integers(0, 99))
def test_with_a_beam_for_each_identifier_it_ranks_like_scoring_them_all(
    identifiers: list[Identifier], scoring: Scoring, length_penalty: float, seed: int
) -> None:
    tree, allowed = PrefixTree.build(identifiers), continuations(identifiers)
    found = beam_search(Recurrent(2, seed), tree, 2, len(identifiers), scoring=scoring, length_penalty=length_penalty)
    for query, row in enumerate(found):
        scores = {
            path: path_scores(2, query, path, allowed, scoring, seed) / len(path) ** length_penalty
            for path in identifiers
        }
        assert {hypothesis.tokens: hypothesis.score for hypothesis in row} == pytest.approx(scores, abs=1e-4)
        assert row == sorted(row, key=lambda hypothesis: (-hypothesis.score, hypothesis.tokens))


def test_dead_beams_are_never_carried_and_finished_queries_leave() -> None:
    model = Recurrent(2)
    tree = PrefixTree.build([(0,), (1, 2), (1, 3), (4, 5, 6)])
    beam_search(model, tree, 2, 50, scoring="logits")
    assert model.rows == [[0, 1], [0, 0, 1, 1], [0, 1]]


def test_a_settled_query_leaves_the_batch_before_the_others() -> None:
    calls: list[int] = []

    def next_token(tokens: torch.Tensor, parents: torch.Tensor | None, allowed: None) -> torch.Tensor:
        if parents is None:
            calls.append(len(tokens))
            return torch.tensor([[9.0, 0.0], [0.0, 9.0]])  # the first query is sure of (0,), the second of (1, ...)
        calls.append(len(tokens))
        return torch.zeros(len(tokens), 2)

    found = beam_search(next_token, PrefixTree.build([(0,), (1, 0), (1, 1)]), 2, 1, scoring="vocabulary")
    assert calls == [2, 1]
    assert [row[0].tokens for row in found] == [(0,), (1, 0)]


def constant(value: float) -> NextToken:
    return lambda tokens, parents, allowed: named(torch.full((len(tokens), VOCAB), value), allowed)


def test_ties_go_to_the_lower_token_path() -> None:
    identifiers = [(3, 1), (0, 6), (3, 0), (2, 2), (0, 5)]
    found = beam_search(constant(0.0), PrefixTree.build(identifiers), 1, 3, scoring="logits")
    assert [hypothesis.tokens for hypothesis in found[0]] == [(0, 5), (0, 6), (2, 2)]


def test_a_leaf_with_children_finishes_and_continues() -> None:
    found = beam_search(constant(0.5), PrefixTree.build([(1,), (1, 2)]), 1, 2, scoring="logits")
    assert [(h.leaf, h.tokens, h.score) for h in found[0]] == [(1, (1, 2), 1.0), (0, (1,), 0.5)]


def test_length_penalty_divides_by_the_length() -> None:
    found = beam_search(constant(0.5), PrefixTree.build([(1, 2, 3)]), 1, 2, scoring="logits", length_penalty=2.0)
    assert found[0][0].score == pytest.approx(1.5 / 9)


def test_max_length_leaves_longer_identifiers_out() -> None:
    found = beam_search(
        constant(0.0), PrefixTree.build([(1,), (1, 2), (1, 2, 3)]), 1, 5, scoring="logits", max_length=2
    )
    assert {hypothesis.tokens for hypothesis in found[0]} == {(1,), (1, 2)}


def test_an_impossible_continuation_is_left_out() -> None:
    logits = torch.zeros(1, VOCAB)
    logits[0, 2] = -math.inf
    found = beam_search(
        lambda tokens, parents, allowed: logits, PrefixTree.build([(1,), (2,)]), 1, 5, scoring="vocabulary"
    )
    assert [hypothesis.tokens for hypothesis in found[0]] == [(1,)]


def test_no_query_finds_nothing() -> None:
    assert beam_search(constant(0.0), PrefixTree.build([(1,)]), 0, 5, scoring="vocabulary") == []


@pytest.mark.parametrize("scoring", get_args(Scoring))
def test_nan_is_an_error(scoring: Scoring) -> None:
    with pytest.raises(GenirError, match=r"scores are not numbers \(NaN\)"):
        beam_search(constant(math.nan), PrefixTree.build([(1,), (2,)]), 1, 2, scoring=scoring)


def test_a_token_that_the_model_does_not_have() -> None:
    with pytest.raises(DataError, match=r"holds token 40, but the model writes tokens 0 to 6 only"):
        beam_search(constant(0.0), PrefixTree.build([(40,)]), 1, 2, scoring="vocabulary")


def test_refuses_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="num_beams must be at least 1, got 0"):
        beam_search(constant(0.0), PrefixTree.build([(1,)]), 1, 0, scoring="logits")
    with pytest.raises(ConfigError, match=r"unknown scoring 'alowed': did you mean 'allowed'\?"):
        beam_search(constant(0.0), PrefixTree.build([(1,)]), 1, 1, scoring="alowed")  # type: ignore[arg-type]
    impossible = {
        "num_beam_groups is 3: expected a divisor of num_beams, which is 4": {"num_beam_groups": 3},
        "diversity_penalty is -1.0: expected 0 or more": {"diversity_penalty": -1.0},
        "num_return is 0: expected at least 1": {"num_return": 0},
        "max_length is -1: expected at least 1": {"max_length": -1},
        "length_penalty is nan: expected -10 to 10": {"length_penalty": math.nan},
        "length_penalty is 400.0: expected -10 to 10": {"length_penalty": 400.0},
        "diversity_penalty is inf: expected 0 or more": {"diversity_penalty": math.inf},
        "threshold is 5: expected 1 to 4, the identifiers returned": {"threshold": 5},
    }
    for message, options in impossible.items():
        with pytest.raises(ConfigError, match=message):
            beam_search(constant(0.0), PrefixTree.build([(1,)]), 1, 4, scoring="allowed", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="threshold needs log-probabilities"):
        beam_search(constant(0.0), PrefixTree.build([(1,)]), 1, 4, scoring="logits", threshold=1)


class Counting:
    """Counts the rows that a model is asked for."""

    def __init__(self, next_token: NextToken) -> None:
        self.next_token, self.asked = next_token, 0

    def __call__(
        self, tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor | None
    ) -> torch.Tensor:
        logits = self.next_token(tokens, parents, allowed)
        self.asked += len(logits)
        return logits


def test_the_model_is_not_asked_what_is_certain() -> None:
    identifiers = [(0, 1, 2, 3), (1, 1, 1, 1, 1), (2, 5), (2, 6, 0, 4)]
    model = Recurrent(2)
    found = beam_search(model, PrefixTree.build(identifiers), 2, 4, scoring="allowed")
    assert model.rows == [[0, 1], [0, 1]]  # the root, and the node (2,): the rest of the others is forced
    assert all({h.tokens for h in row} == set(identifiers) for row in found)
    alone = Recurrent(1)
    assert beam_search(alone, PrefixTree.build([(4, 4, 4)]), 1, 4, scoring="allowed") == [
        [Hypothesis(0, (4, 4, 4), 0.0)]
    ]
    assert alone.rows == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    identifier_sets,
    st.integers(1, 6),
    st.sampled_from(["allowed", "vocabulary"]),
    st.sampled_from([0.0, 1.0, -0.5]),
    st.integers(0, 99),
)
def test_a_threshold_stops_early_and_changes_nothing_above_it(
    identifiers: list[Identifier], num_beams: int, scoring: Scoring, length_penalty: float, seed: int
) -> None:
    """The reference has as many places as there are identifiers, so that nothing stops it early."""
    tree = PrefixTree.build(identifiers)
    whole, stopped = Counting(Recurrent(3, seed)), Counting(Recurrent(3, seed))
    options = {"scoring": scoring, "length_penalty": length_penalty, "max_length": 4}
    best = beam_search(whole, tree, 3, num_beams, num_return=1000, **options)  # type: ignore[arg-type]
    threshold = min(2, num_beams)
    quick = beam_search(stopped, tree, 3, num_beams, threshold=threshold, **options)  # type: ignore[arg-type]
    for row, quick_row in zip(best, quick, strict=True):
        assert row[:threshold] == quick_row[:threshold]
    assert stopped.asked <= whole.asked


def test_a_threshold_lets_the_lower_path_win_a_tie() -> None:
    """(1, 2) scores as (5,) does, and ends later."""
    tree = PrefixTree.build([(5,), (1, 2)])
    for threshold in (None, 1):
        found = beam_search(constant(0.0), tree, 1, 2, scoring="allowed", threshold=threshold)
        assert found[0][0].tokens == (1, 2)


def test_a_beam_without_any_possible_continuation_ends() -> None:
    def next_token(tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor) -> torch.Tensor:
        return torch.where(allowed >= 5, -math.inf, torch.zeros(allowed.shape))

    tree = PrefixTree.build([(1, 5), (1, 6), (2, 3), (2, 4)])
    found = beam_search(next_token, tree, 1, 4, scoring="allowed")
    assert [hypothesis.tokens for hypothesis in found[0]] == [(2, 3), (2, 4)]


def test_a_threshold_saves_calls() -> None:
    """(0,) is as good as certain; the search for the best need not go on behind (1,)."""
    logits = torch.full((1, VOCAB), 0.0)
    logits[0, 0] = 9.0
    tree = PrefixTree.build([(0,), (1, 0), (1, 1), (1, 2)])

    def asked(threshold: int | None) -> int:
        model = Counting(lambda tokens, parents, allowed: named(logits.expand(len(tokens), -1), allowed))
        assert beam_search(model, tree, 1, 4, scoring="allowed", threshold=threshold)[0][0].tokens == (0,)
        return model.asked

    assert (asked(None), asked(1)) == (2, 1)


def test_num_return_keeps_more_than_the_beams() -> None:
    tree = PrefixTree.build([(1,), (1, 1), (1, 1, 1), (2,), (2, 1)])
    assert len(beam_search(constant(0.0), tree, 1, 2, scoring="vocabulary", num_return=9)[0]) == 5
    assert len(beam_search(constant(0.0), tree, 1, 2, scoring="vocabulary", num_return=3)[0]) == 3


def plain_diverse_search(
    identifiers: list[Identifier], score: Callable[[Identifier], float], group_size: int, groups: int, penalty: float
) -> dict[Identifier, float]:
    """Diverse beam search by hand, for one query and identifiers of one length."""
    allowed = continuations(identifiers)
    running: list[list[Identifier]] = [[()] for _ in range(groups)]
    for _ in identifiers[0]:
        used: list[int] = []
        for group, paths in enumerate(running):
            candidates = [(*path, token) for path in paths for token in allowed[path]]
            ranked = sorted(candidates, key=lambda path: (penalty * used.count(path[-1]) - score(path), path))
            running[group] = ranked[:group_size]
            used = used + [path[-1] for path in running[group]]
    return {path: score(path) for paths in running for path in paths}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(*[st.integers(0, VOCAB - 1)] * 3), min_size=1, max_size=25, unique=True),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.5, 3.0]),
    scorings,
)
def test_diverse_groups(
    identifiers: list[Identifier], group_size: int, groups: int, penalty: float, scoring: Scoring
) -> None:
    tree, allowed = PrefixTree.build(identifiers), continuations(identifiers)
    options = {"num_beam_groups": groups, "diversity_penalty": penalty, "scoring": scoring}
    found = beam_search(Recurrent(2), tree, 2, group_size * groups, **options)  # type: ignore[arg-type]
    for query, row in enumerate(found):

        def score(path: Identifier, query: int = query) -> float:
            return path_scores(2, query, path, allowed, scoring, 0)

        expected = plain_diverse_search(identifiers, score, group_size, groups, penalty)
        assert {hypothesis.tokens: hypothesis.score for hypothesis in row} == pytest.approx(expected, abs=1e-4)


def test_one_group_is_plain_beam_search() -> None:
    tree = PrefixTree.build([(a, b) for a in range(4) for b in range(4)])
    plain = beam_search(Recurrent(2), tree, 2, 4, scoring="allowed")
    assert beam_search(Recurrent(2), tree, 2, 4, scoring="allowed", diversity_penalty=9.0) == plain
