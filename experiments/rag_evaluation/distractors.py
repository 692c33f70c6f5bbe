"""Condition `distractors`: the right passage among others, of which a share are near-duplicates of it and the rest drawn at random.

Near-duplicates are passages of the same article first, then of any, nearest by words first (BM25, the right passage as the query). One
that holds an accepted answer is none. The rows are shares, not retrievers: evidence is made, not found. None, half of them and all, where
half of an odd number is rounded up, and the row says what it came to ("67 %" with k = 4).

Invariants: k passages a question, the right one at the same place, drawn by the seed and the question alone, under every share; with a
smaller share the near-duplicates are the nearest of those of a larger one. Where there are too few near-duplicates others fill the
place, which is counted.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from experiments.rag_evaluation.arms import Playback, Rankings, ranked
from experiments.rag_evaluation.bench import Arm, Bench, Part, Row
from experiments.rag_evaluation.reading import Answered, Evidence
from genir.records import Document, Qrels, Query
from rag.scoring import answer_in_context
from rag.span.data import heading

LABEL = "distractors"
_LOOKED_AT = 50  # nearest passages that are looked at for near-duplicates


@dataclass(frozen=True)
class Surroundings:
    """Makes the evidence of a question: its first relevant passage among `k` - 1 others."""

    documents: Mapping[str, Document]
    relevant: Qrels
    k: int
    seed: int = 0
    nearest: Mapping[str, Sequence[str]] = field(default_factory=dict)  # doc_id -> doc_ids, nearest first

    def of(self, query: Query, wanted: int) -> tuple[tuple[str, ...], int]:
        """The k doc_ids in order, `wanted` near-duplicates among them, and how many of these are missing. The corpus may be smaller than
        k."""
        right, *also = self.relevant.relevant(query.query_id)
        barred = {right, *also}
        kin = self.near_duplicates(query, right, barred)[:wanted]
        rng = random.Random(f"{self.seed}\0{query.query_id}")
        place = rng.randrange(self.k)
        order = list(self.documents)
        drawn = (order[i] for i in rng.sample(range(len(order)), min(len(order), 4 * self.k + len(barred))))
        others = [
            doc_id for doc_id in drawn if doc_id not in barred and doc_id not in kin and not self._holds(query, doc_id)
        ]
        filled = [*kin, *others][: self.k - 1]
        rng.shuffle(filled)
        return (*filled[:place], right, *filled[place:]), wanted - len(kin)

    def near_duplicates(self, query: Query, right: str, barred: set[str]) -> list[str]:
        """Of the right passage, nearest first, those of its article before others."""
        article = heading(self.documents[right].title)
        near = [one for one in self.nearest.get(right, ()) if one not in barred and not self._holds(query, one)]
        return sorted(near, key=lambda one: not article or heading(self.documents[one].title) != article)

    def _holds(self, query: Query, doc_id: str) -> bool:
        return answer_in_context(query.answers, [self.documents[doc_id]]) > 0


def numbers_of(k: int) -> tuple[int, ...]:
    """How many of the k - 1 others are near-duplicates, row by row: none, half of them, all."""
    return tuple(dict.fromkeys((0, k // 2, k - 1)))


def distracted(bench: Bench, arms: Sequence[Arm]) -> list[Part]:
    """The part: for each generator a row a share, compared with the first, where all others are drawn at random."""
    queries = tuple(query for query in bench.questions.asked if bench.questions.relevant.relevant(query.query_id))
    numbers = numbers_of(bench.config.k)
    made, missing = surround(bench, queries, numbers)
    labels = [f"near-duplicates {100 * number / (bench.config.k - 1):.0f} %" for number in numbers]
    rows: dict[str, Row] = {}
    answered: dict[str, Answered] = {}
    for generator in bench.readers:
        names = [bench.name(label, generator) for label in labels]
        for name, rankings in zip(names, made, strict=True):
            answered[name] = bench.read(Evidence(queries, Playback("made", rankings)), generator)
            rows[name] = Row(answered[name].values, against="" if name == names[0] else names[0])
    return [Part(LABEL, rows, answered, {"near_duplicates_missing": dict(zip(labels, missing, strict=True))})]


def surround(bench: Bench, queries: Sequence[Query], numbers: Sequence[int]) -> tuple[list[Rankings], list[int]]:
    """For each number of near-duplicates the rankings of all questions, and how many near-duplicates are missing in all."""
    relevant = bench.questions.relevant
    rights = dict.fromkeys(relevant.relevant(query.query_id)[0] for query in queries)
    asked = [Query(doc_id, bench.documents[doc_id].title_and_text) for doc_id in rights]
    found = bench.searcher.built("bm25").retriever.search(asked, _LOOKED_AT).rankings
    nearest = {doc_id: [one.doc_id for one in ranking] for doc_id, ranking in found.items()}
    surroundings = Surroundings(bench.documents, relevant, bench.config.k, bench.config.seed, nearest)
    rankings: list[Rankings] = []
    missing: list[int] = []
    for number in numbers:
        made = {query.query_id: surroundings.of(query, number) for query in queries}
        rankings.append({query_id: ranked(doc_ids) for query_id, (doc_ids, _) in made.items()})
        missing.append(sum(short for _, short in made.values()))
    return rankings, missing
