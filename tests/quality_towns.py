"""Twelve towns with questions of every split, and a configuration of the experiments about quality that learns them in a second."""

from pathlib import Path

from genir.formats import write_dataset
from genir.records import Dataset, Document, Qrels, Query
from tests.tiny_text_models import save_tiny_bert

TOWNS = ("Oslo", "Lima", "Cairo", "Quito", "Paris", "Rome", "Hanoi", "Accra", "Doha", "Sofia", "Bern", "Riga")
SPLITS = {"train": range(0, 7), "dev": range(5, 9), "test": (9, 10, 11), "spring": (1, 2, 10)}
CONFIG = """
seeds = {seeds}
encoder = "{encoder}"
scheme = ["levels = 2", "codes = 4"]
max_questions = {questions}
[dense]
passage_tokens = 32
query_tokens = 32
training = {{ epochs = 1, batch_size = 4, precision = "float32" }}
[sequence]
code_decoder = {{ heads = 2, feedforward = 16, max_text_tokens = 32 }}
examples = {{ passages = 0, pseudo_query_weight = 0.0 }}
training = {{ epochs = 1, batch_size = 4, precision = "float32" }}
search = {{ num_beams = 12 }}
[terms]
training = {{ epochs = 1, batch_size = 4, precision = "float32" }}
"""


def towns() -> Dataset:
    """Seven training questions, two of which dev asks, too; three of the test split, and three of a split named spring."""
    corpus = tuple(Document(f"d{i}", f"{name} lies far away.", name) for i, name in enumerate(TOWNS))
    queries = {f"q{i}": Query(f"q{i}", f"where is {name}") for i, name in enumerate(TOWNS)}
    qrels = {split: Qrels({f"q{i}": {f"d{i}": 1} for i in part}) for split, part in SPLITS.items()}
    return Dataset("towns", corpus, queries, qrels)


def write_towns(folder: Path) -> Path:
    """The data folder, named towns."""
    write_dataset(towns(), folder / "towns")
    return folder / "towns"


def write_config(
    folder: Path, seeds: tuple[int, ...] = (0,), questions: int = 0, more: str = "", top: str = ""
) -> Path:
    """The configuration, with its encoder beside it; `top` goes before its tables, `more` behind."""
    encoder = folder / "encoder"
    if not encoder.is_dir():
        save_tiny_bert(encoder, 16)
    path = folder / "experiment.toml"
    text = CONFIG.format(seeds=list(seeds), encoder=encoder, questions=questions)
    path.write_text(top + text + more, encoding="utf-8")
    return path
