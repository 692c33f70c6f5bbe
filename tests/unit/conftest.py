"""Fixtures that several unit tests share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from genir.records import Dataset, Document, Qrels, Query
from tests.tiny_journey import TRAINING, Journey

if TYPE_CHECKING:
    from tests.served_engine import Served


@pytest.fixture
def served() -> "Iterator[Served]":
    """A server over a scripted engine, and its client."""
    from tests.served_engine import serve_scripted  # what it needs may be missing, where only its tests are skipped

    with serve_scripted() as found:
        yield found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """A journey with identifiers and a model. Tests do not change it."""
    corpus = tuple(Document(f"d{i}", f"{name} is a town in the {side}.") for i, (name, side) in enumerate(TOWNS))
    queries = {f"q{i}": Query(f"q{i}", f"Where is {name}?") for i, (name, _) in enumerate(TOWNS)}
    qrels = {"train": Qrels({"q0": {"d0": 1}}), "test": Qrels({"q1": {"d1": 1}})}
    journey = Journey.begin(tmp_path_factory.mktemp("finished"), Dataset("towns", corpus, queries, qrels))
    assert journey.build("atomic").code == 0
    assert journey.train(journey.config(more=TRAINING.replace("epochs = 2", "epochs = 0"))).code == 0
    return journey


TOWNS = (("Oslo", "north"), ("Lima", "west"), ("Cairo", "south"))
