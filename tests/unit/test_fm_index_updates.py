"""An FM-index after any adds and deletes answers as one built anew; what is saved comes back whole or not at all."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from genir.constraints.fm_index import FMIndex
from genir.errors import ArtefactError, DataError
from tests.fm_index_oracle import assert_answers, scan

documents = st.lists(st.integers(0, 3), max_size=8)
DOCUMENTS = [(1, 2, 3, 1, 2), (2, 2, 9), (), (3, 1), (1, 2, 9, 9), (5,), (2, 3, 1), (1, 2)]


class Updates(RuleBasedStateMachine):
    """The index beside the documents that it should hold, by number."""

    @initialize(first=st.lists(documents, min_size=1, max_size=12).filter(any))
    def build(self, first: list[list[int]]) -> None:
        self.index = FMIndex.build(first)
        self.held = dict(enumerate(first))
        self.next = len(first)

    @rule(added=st.lists(documents, max_size=3))
    def add(self, added: list[list[int]]) -> None:
        self.index = self.index.with_documents(added)
        self.held |= {self.next + place: document for place, document in enumerate(added)}
        self.next += len(added)

    @rule(choice=st.data())
    def delete(self, choice: st.DataObject) -> None:
        if self.held:
            numbers = choice.draw(st.lists(st.sampled_from(sorted(self.held)), max_size=3))
            self.index = self.index.without_documents(numbers)
            self.held = {number: document for number, document in self.held.items() if number not in numbers}

    @rule()
    def keep(self) -> None:
        with TemporaryDirectory() as folder:
            self.index.save(Path(folder) / "index")
            self.index = FMIndex.load(Path(folder) / "index")

    @invariant()
    def answers(self) -> None:
        assert_answers(self.index, scan(self.held, 6), 6)
        assert self.index.num_documents == len(self.held)
        assert self.index.num_tokens == sum(map(len, self.held.values()))
        assert self.index.next_document == self.next


TestUpdates = Updates.TestCase
TestUpdates.settings = settings(max_examples=25, stateful_step_count=8, deadline=None)


def test_answers_are_those_of_a_rebuild() -> None:
    index = FMIndex.build(DOCUMENTS[:5]).with_documents(DOCUMENTS[5:7]).with_documents(DOCUMENTS[7:])
    assert len(index.segments.parts) == 3
    updated = index.without_documents([1, 7])
    rebuilt = FMIndex.build([() if number in (1, 7) else document for number, document in enumerate(DOCUMENTS)])
    nodes, others = updated.start(1), rebuilt.start(1)
    for _ in range(5):
        tokens, nodes, mask = updated.children(nodes)
        expected, others, same = rebuilt.children(others)
        assert torch.equal(tokens, expected)
        assert torch.equal(mask, same)
        nodes, others = nodes[mask], others[same]
        assert torch.equal(updated.continues(nodes), rebuilt.continues(others))
        assert torch.equal(updated.counts(nodes), rebuilt.counts(others))
        for found, located in zip(updated.occurrences(nodes), rebuilt.occurrences(others), strict=True):
            assert torch.equal(found, located)


def test_an_update_leaves_the_old_index_as_it_was_and_shares_its_segments() -> None:
    index = FMIndex.build(DOCUMENTS)
    fewer, more = index.without_documents([0]), index.with_documents([(7, 7)])
    assert_answers(index, scan(dict(enumerate(DOCUMENTS)), 5), 5)
    assert fewer.segments.parts[0].segment is more.segments.parts[0].segment is index.segments.parts[0].segment
    assert more.with_documents([]) is more
    assert index.count((7,)) == fewer.count((1, 2, 3)) == 0
    assert (more.count((7,)), index.count((1, 2, 3))) == (2, 1)


def test_a_deleted_document_never_comes_out() -> None:
    index = FMIndex.build([(1, 2), (1, 3)]).without_documents([0])
    tokens, _, mask = index.children(torch.tensor([index.find((1,))]))
    assert (tokens.tolist(), mask.tolist()) == ([[3]], [[True]])
    assert index.find((1, 2)) == index.count((2,)) == 0
    nothing = index.without_documents([1])
    assert not nothing.continues(nothing.start(1)).any()
    assert not nothing.children(nothing.start(1))[2].any()
    again = nothing.with_documents([(2, 1)])
    assert [tensor.tolist() for tensor in again.locate((2, 1))] == [[2], [0]]


def test_segments_are_joined_as_they_grow() -> None:
    index = FMIndex.build([(1, 2, 3)] * 200)
    for number in range(30):
        index = index.with_documents([(number, 1, 2)])
    assert len(index.segments.parts) <= 6
    assert index.count((1, 2)) == 230
    assert index.locate((29, 1))[0].tolist() == [229]


@pytest.mark.parametrize("number", [8, -1, 3])
def test_a_document_that_is_not_there(number: int) -> None:
    index = FMIndex.build(DOCUMENTS).without_documents([3])
    with pytest.raises(DataError, match=rf"document {number} is not in the index, which has 7 of 8 documents left"):
        index.without_documents([0, number])


def test_bad_documents_are_refused() -> None:
    with pytest.raises(DataError, match="document 1 holds the negative token -1"):
        FMIndex.build(DOCUMENTS).with_documents([(1,), (-1,)])


def test_save_and_load(tmp_path: Path) -> None:
    index = FMIndex.build(DOCUMENTS[:6]).without_documents([1]).with_documents([(4,)])
    index.save(tmp_path / "index")
    loaded = FMIndex.load(tmp_path / "index")
    held = {number: document for number, document in enumerate([*DOCUMENTS[:6], (4,)]) if number != 1}
    assert_answers(loaded, scan(held, 5), 5)
    assert loaded.nbytes == index.nbytes
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "index").read_bytes()


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with pytest.raises(ArtefactError, match="not a readable FM-index"):
        FMIndex.load(path)
    FMIndex.build(DOCUMENTS).save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ArtefactError, match="FM-index") as failure:
            FMIndex.load(path)
        assert "\n" not in str(failure.value)
        path.write_bytes(whole[:place])
        with pytest.raises(ArtefactError, match="FM-index"):
            FMIndex.load(path)
