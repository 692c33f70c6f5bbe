"""Documents come and go: after any order of additions and deletions a tree answers as one that was built anew."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from genir.constraints import PrefixTree
from genir.errors import DataError
from tests.identifier_walks import Identifier, expected, walk

few_identifiers = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), max_size=6)


class Updates(RuleBasedStateMachine):
    """A tree beside the list of its documents. Few tokens, so that identifiers collide and begin one another."""

    @initialize(identifiers=few_identifiers.filter(len))
    def build(self, identifiers: list[Identifier]) -> None:
        self.tree = PrefixTree.build(identifiers)
        self.live = dict(enumerate(identifiers))
        self.count = len(identifiers)
        self.gone: list[Identifier] = []

    @rule(identifiers=few_identifiers)
    def add(self, identifiers: list[Identifier]) -> None:
        self.tree = self.tree.with_documents(identifiers)
        self.live |= dict(enumerate(identifiers, self.count))
        self.count += len(identifiers)

    @rule(data=st.data())
    def add_what_is_there(self, data: st.DataObject) -> None:
        if self.live:
            self.add([data.draw(st.sampled_from(sorted(self.live.values())))])

    @rule(data=st.data())
    def add_again(self, data: st.DataObject) -> None:
        if self.gone:
            self.add([data.draw(st.sampled_from(self.gone))])

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if self.live:
            self.delete_these(data.draw(st.sets(st.sampled_from(sorted(self.live)), max_size=4)))

    @rule()
    def delete_everything(self) -> None:
        self.delete_these(set(self.live))
        start = self.tree.start(2)
        assert not self.tree.children(start)[2].any()
        assert not self.tree.continues(start).any()

    @rule()
    def refuse_what_is_deleted(self) -> None:
        for number in set(range(self.count)) - set(self.live):
            with pytest.raises(DataError, match=f"document {number} cannot be deleted: it was deleted before"):
                self.tree.without_documents([number])

    @rule()
    def refuse_what_never_was(self) -> None:
        with pytest.raises(DataError, match=f"document {self.count} cannot be deleted: documents are numbered 0 to"):
            self.tree.without_documents([self.count])

    @invariant()
    def answers_as_if_built_anew(self) -> None:
        assert walk(self.tree) == expected(self.live)
        assert self.tree.num_documents == len(self.live)
        assert len(self.tree) == len(set(self.live.values()))

    def delete_these(self, numbers: set[int]) -> None:
        self.tree = self.tree.without_documents(numbers)
        self.gone += [self.live.pop(number) for number in numbers]


TestUpdates: Any = Updates.TestCase
TestUpdates.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)


@settings(max_examples=40, deadline=None)
@given(few_identifiers.filter(len), few_identifiers, st.integers(0, 2**31 - 1))
def test_larger_tokens_than_the_tree_was_built_with(
    identifiers: list[Identifier], more: list[Identifier], token: int
) -> None:
    wider = [(*identifier, token) for identifier in [*identifiers, *more]]
    tree = PrefixTree.build(identifiers).with_documents(wider)
    assert walk(tree) == expected(dict(enumerate([*identifiers, *wider])))


def test_the_old_tree_stays_and_the_arrays_are_shared() -> None:
    tree = PrefixTree.build([(1, 2), (1, 3)])
    more, fewer = tree.with_documents([(1, 2, 5)]), tree.without_documents([0])
    assert more.arrays is fewer.arrays is tree.arrays
    assert more.documents is fewer.documents is tree.documents
    assert walk(tree) == expected({0: (1, 2), 1: (1, 3)})
    assert walk(more) == expected({0: (1, 2), 1: (1, 3), 2: (1, 2, 5)})
    assert walk(fewer) == expected({1: (1, 3)})


def test_no_change_is_the_same_tree() -> None:
    tree = PrefixTree.build([(1, 2)])
    assert tree.with_documents([]) is tree.without_documents([]) is tree


def test_numbers_are_never_used_again() -> None:
    tree = PrefixTree.build([(1,), (2,)]).without_documents([1]).with_documents([(2,), (3,)])
    assert walk(tree) == expected({0: (1,), 2: (2,), 3: (3,)})
    again = tree.without_documents([3, 2]).with_documents([(3,)])
    assert walk(again) == expected({0: (1,), 4: (3,)})


def test_one_of_many_documents_leaves_a_leaf() -> None:
    tree = PrefixTree.build([(1, 2)] * 5).without_documents([0, 3]).with_documents([(1, 2)])
    assert walk(tree)[1, 2] == ((), (1, 2, 4, 5), False)


def test_many_updates_at_once() -> None:
    drawn = np.random.default_rng(0).integers(0, 5, (600, 4))
    documents = {number: tuple(row) for number, row in enumerate(drawn.tolist())}
    tree = PrefixTree.build(drawn[:300]).with_documents(drawn[300:])
    gone = range(0, 600, 3)
    tree = tree.without_documents(gone)
    live = {number: identifier for number, identifier in documents.items() if number % 3}
    assert walk(tree) == expected(live)


def test_additions_are_checked() -> None:
    tree = PrefixTree.build([(1,)], 10)
    with pytest.raises(DataError, match="identifier 1 holds token 10, expected 0 to 9"):
        tree.with_documents([(2,), (10,)])
    with pytest.raises(DataError, match="identifier 0 is empty"):
        tree.with_documents([()])
