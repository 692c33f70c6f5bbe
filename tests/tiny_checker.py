"""A tiny world for the trained checker: an encoder of random weights, and passages whose questions can be learnt."""

from pathlib import Path

from genir.records import Dataset, Document, Qrels, Query
from tests.tiny_text_models import save_byte_tokenizer, save_tiny_bert

NAMES = ("Oslo", "Lima", "Cairo", "Quito", "Paris", "Rome", "Hanoi", "Accra", "Doha", "Sofia", "Bern", "Riga")


def save_pair_encoder(folder: Path, width: int = 16) -> Path:
    """A random BERT over bytes with [CLS] and [SEP]."""
    save_tiny_bert(folder, width)
    save_byte_tokenizer(folder, cls_token="[CLS]", sep_token="[SEP]")
    return folder


def towns() -> Dataset:
    """Twelve passages of one article, each with a founder and a ruler, and a question for each of the two."""
    corpus, queries, answers = [], {}, {}
    for i in range(len(NAMES)):
        founder, ruler = NAMES[i - 1], NAMES[i - 2]
        text = f"There was built by {founder} a town. It is now ruled by {ruler} and others. It lies far away."
        corpus.append(Document(f"d{i}", text, f"Towns § {i}"))
        for kind, question, answer in (("f", "Who built it?", founder), ("r", "Who ruled it?", ruler)):
            queries[f"{kind}{i}"] = Query(f"{kind}{i}", question, (answer,))
            answers[f"{kind}{i}"] = {f"d{i}": 1}
    parts = {"train": range(0, 8), "dev": range(8, 12), "test": range(10, 12)}
    qrels = {
        split: Qrels({f"{kind}{i}": answers[f"{kind}{i}"] for i in part for kind in "fr"})
        for split, part in parts.items()
    }
    return Dataset("towns", tuple(corpus), queries, qrels)
