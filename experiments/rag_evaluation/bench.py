"""What every part of an evaluation works with: the data set, its questions, the arms, the readers, and where answers are kept.

An arm is a retriever with a generator. Its name in tables is the retriever's; behind the second and later generators' retrievers stands the
generator ("bm25, llama"), so that the first generator's figures are found under the retrievers' names alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.rag_evaluation.arms import Playback, Rankings, Searcher
from experiments.rag_evaluation.calibration import Calibration
from experiments.rag_evaluation.questions import Questions
from experiments.rag_evaluation.reading import Answered, AnswerStore, Evidence
from experiments.rag_evaluation.settings import GroundingConfig
from genir.records import Dataset, Document, Query
from rag.measures.hallucination import fact_conflicting
from rag.measures.per_question import PerQuery
from rag.mitigations.cost import Cost
from rag.reading import Reader

MOST_RELEVANT = 20  # relevant documents of a question that can be taken away, at most


@dataclass(frozen=True)
class Row:
    """One row of a table. `against`: the row on the same questions that it is compared with ("" for none).

    `whole`: with the figures of the whole set, too, which the order of the confidences decides (AURC, AUROC, ECE); they take long.
    """

    values: PerQuery
    against: str = ""
    calibration: Calibration | None = None
    cost: Cost | None = None
    whole: bool = False


@dataclass(frozen=True)
class Part:
    """A table: the base (no label), or a condition. `label` stands in brackets behind the data set's name; `answered` goes to
    answers.jsonl, by row; `about` says what else there is to say; `why`: in a line for the user, what has no rows, and why.
    """

    label: str
    rows: Mapping[str, Row]
    answered: Mapping[str, Answered] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Arm:
    """One arm's answers to the questions asked, and to the dev questions, where there are any."""

    retriever: str
    generator: str
    answered: Answered
    dev: Answered | None
    calibration: Calibration | None


@dataclass(frozen=True)
class Bench:
    """`readers` by what `--generator` named; `labels`: what tables call them; `fingerprints` tell them apart."""

    config: GroundingConfig
    dataset: Dataset
    questions: Questions
    searcher: Searcher
    store: AnswerStore
    readers: Mapping[str, Reader]
    labels: Mapping[str, str]
    fingerprints: Mapping[str, str]
    documents: Mapping[str, Document]

    def name(self, retriever: str, generator: str) -> str:
        """The arm's name in tables."""
        first = next(iter(self.readers))
        return retriever if generator == first else f"{retriever}, {self.labels[generator]}"

    def evidence(self, retriever: str, queries: Sequence[Query]) -> Evidence:
        """The questions with what the arm finds, deep enough to take the relevant documents away, and what finding it took."""
        if retriever == "none" or not queries:
            return Evidence(tuple(queries))
        most = max(len(self.questions.relevant.relevant(query.query_id)) for query in queries)
        depth = self.config.k if retriever in ("oracle", "random") else self.config.k + min(most, MOST_RELEVANT)
        playback = self.searcher.playback(retriever, self.searcher.run(retriever, queries, depth))
        return Evidence(tuple(queries), playback, searched=self.searcher.cost(retriever, queries, depth))

    def shown(self, retriever: str, rankings: Rankings) -> Playback:
        """Other rankings of the same arm."""
        return replace(self.searcher.playback(retriever, rankings), rankings=rankings)

    def read(self, evidence: Evidence, generator: str, reader: Reader | None = None, wording: str = "") -> Answered:
        """Answers, read or kept. `reader` replaces the generator's own, in another `wording`."""
        chosen = reader or self.readers[generator]
        return self.store.read(evidence, chosen, f"{self.fingerprints[generator]} {wording}".strip())


def agreeing(answered: Answered) -> dict[str, bool]:
    """query_id -> answered, in agreement with an accepted answer, of questions that have one.

    Agreement is that of `rag.measures.hallucination.fact_conflicting`.
    """
    return {
        query.query_id: says(answer.text, query.answers, answer.question) and not answer.abstained
        for query, answer in zip(answered.queries, answered.answers, strict=True)
        if query.answers
    }


def says(text: str, accepted: Sequence[str], question: str) -> bool:
    """Whether a text that answers the question agrees with one of the answers: as a short answer, or inside a sentence."""
    return not fact_conflicting(text, accepted, question)


def restricted(values: PerQuery, query_ids: Sequence[str]) -> PerQuery:
    """The measures of some questions alone; one that applies to none of them is left out."""
    chosen = set(query_ids)
    kept = {m: {q: value for q, value in by_query.items() if q in chosen} for m, by_query in values.items()}
    return {measure: by_query for measure, by_query in kept.items() if by_query}
