"""Shared fixtures: a tiny data set in a temporary folder, and the real data beside the checkout where there is some."""

import os

# Before torch is imported anywhere: spinning threads make a shared machine many times slower, and tests use no network.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from pathlib import Path

import pytest

from genir.formats import write_dataset
from genir.records import Dataset, Document, Qrels, Query

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def tiny_dataset() -> Dataset:
    """Four documents (one without a title, one in Chinese) and five questions, one of which nothing answers."""
    corpus = (
        Document(
            "d1", "Oslo is the capital of Norway. It lies at the head of a fjord.", "Oslo", "https://example.org/oslo"
        ),
        Document("d2", "Lima is the capital of Peru. It lies on the Pacific coast.", "Lima"),
        Document("d3", "The Nile flows north through Egypt into the Mediterranean Sea."),
        Document("d4", "东京是日本的首都。", "东京"),
    )
    queries = (
        Query("q1", "What is the capital of Norway?", ("Oslo",)),
        Query("q2", "Which city is the capital of Peru?", ("Lima", "Lima, Peru")),
        Query("q3", "Which way does the Nile flow?", ("north",)),
        Query("q4", "日本的首都是哪里？", ("东京",)),
        Query("q5", "Who wrote the first novel?"),
    )
    qrels = {
        "train": Qrels({"q1": {"d1": 1}, "q4": {"d4": 1}}),
        "dev": Qrels({"q2": {"d2": 2, "d1": 0}}),
        "test": Qrels({"q3": {"d3": 1}}),
    }
    return Dataset("tiny", corpus, {query.query_id: query for query in queries}, qrels)


@pytest.fixture
def tiny_folder(tiny_dataset: Dataset, tmp_path: Path) -> Path:
    """The same data set as a BEIR folder named "tiny"."""
    folder = tmp_path / "tiny"
    write_dataset(tiny_dataset, folder)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real data here: ../shared/data is absent")
    return SHARED_DATA
