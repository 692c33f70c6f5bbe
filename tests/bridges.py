"""A tiny library of bridges for evaluations: facts that can be swapped, questions of every kind, a generator without weights."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genir.formats import write_dataset
from genir.protocols import Generation, SamplingParams
from genir.records import Dataset, Document, Qrels, Query

TOWNS = ("Oslo", "Lima", "Cairo", "Riga", "Bern", "Quito", "Accra", "Hanoi")
BUILDERS = (
    "Edvard Lund",
    "Pedro Ruiz",
    "Omar Said",
    "Janis Ozols",
    "Karl Meier",
    "Luis Vega",
    "Kofi Mensah",
    "Minh Tran",
)
OTHERS = ("Nils Berg", "Juan Soto", "Adel Amin", "Peter Kalns", "Hans Frey", "Jose Mora", "Yaw Boateng", "Long Pham")


def document(place: int) -> Document:
    """The oldest bridge of a town, by one builder, and the second, by another."""
    text = (
        f"In {TOWNS[place]} the oldest bridge was built by {BUILDERS[place]} in {1800 + place}. "
        f"Then a second bridge was built by {OTHERS[place]} in {1900 + place}."
    )
    return Document(f"d{place}", text, f"Bridges § {place}")


def bridges() -> Dataset:
    """Eight documents; two dev questions, two of training, four of test, and two that nothing answers."""
    queries = {
        f"q{i}": Query(f"q{i}", f"Who built the oldest bridge of {town}?", (BUILDERS[i],))
        for i, town in enumerate(TOWNS)
    }
    queries |= {
        "u0": Query("u0", "Who painted the oldest bridge of Paris?"),
        "u1": Query("u1", "Who sold the oldest bridge of Rome?"),
    }
    parts = {"train": (6, 7), "dev": (4, 5), "test": (0, 1, 2, 3)}
    qrels = {split: Qrels({f"q{i}": {f"d{i}": 1} for i in part}) for split, part in parts.items()}
    return Dataset("bridges", tuple(map(document, range(len(TOWNS)))), queries, qrels)


def write_bridges(folder: Path, dataset: Dataset | None = None) -> Path:
    """The data folder, with each question's popularity in queries.jsonl: 5, 50, 500, ..."""
    write_dataset(dataset or bridges(), folder)
    path = folder / "queries.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for place, record in enumerate(records):
        record["subject_popularity"] = 5 * 10 ** (place % 3)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@dataclass
class Builder:
    """A generator that gives in to whoever says what to think, and else names the first builder of its prompt; closed-book it guesses."""

    name: str = "builder"
    prompts: list[str] = field(default_factory=list)

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        """One reply a prompt."""
        self.prompts += prompts
        return [Generation(self._reply(prompt), (1,), (-0.1,)) for prompt in prompts]

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        """The reply at once."""
        yield self._reply(prompt)

    def _reply(self, prompt: str) -> str:
        told = re.findall(r"I think it is (\w+ \w+)", prompt)
        named = re.search(r"by (\w+ \w+) in \d{4}", prompt)
        return told[-1] if told else named[1] if named else "Gustave Eiffel"
