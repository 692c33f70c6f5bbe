"""What the steps work with: a reader, a retriever, a checker, perhaps a generator; and how they search.

Every sub-question of an answer is searched for under the answer's own query_id, one round at a time, so that retrievers which look a query
up by its id (the oracle, the random control) mean the same question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from genir.errors import ConfigError
from genir.protocols import Generator, Retriever, SamplingParams
from genir.records import Answer, Document, Query, ScoredDoc
from rag.measures.support import passages_of
from rag.mitigations.cost import asked_for
from rag.reading import GeneratorReader, Reader
from rag.verification import LexicalChecker, SupportChecker

FUSION = 60  # the constant of reciprocal rank fusion (Cormack et al. 2009)
MOST_WRITTEN = 96  # tokens of a list of questions, or of a revised answer

Found = tuple[ScoredDoc, ...]


@dataclass(frozen=True)
class Tools:
    """`reader` answers sub-questions; `retriever` finds evidence for them (None: the answer's own passages are all there is); `checker`
    says what is supported; `generator` plans and rewrites (None: rules do, except where the reader is a generator's itself).
    `k`: passages a search.
    """

    reader: Reader
    retriever: Retriever | None = None
    checker: SupportChecker = field(default_factory=LexicalChecker)
    generator: Generator | None = None
    k: int = 3

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k = {self.k}: expected at least one passage a search")

    @property
    def writer(self) -> Generator | None:
        """The generator that plans and rewrites, if there is one."""
        return self.generator or (self.reader.generator if isinstance(self.reader, GeneratorReader) else None)


def write(generator: Generator, answers: Sequence[Answer], prompts: Sequence[str], stop: tuple[str, ...]) -> list[str]:
    """What a generator writes behind each prompt, one for each of `answers`, greedily; "" where it stops at once."""
    params = SamplingParams(max_new_tokens=MOST_WRITTEN, stop=stop, logprobs=False)
    return [one.text.strip() for one in asked_for(generator, answers).generate(prompts, params)] if prompts else []


def search(
    answers: Sequence[Answer], queries: Sequence[Sequence[str]], retriever: Retriever | None, k: int
) -> list[list[Found]]:
    """For each answer, and each of its queries, what was found, best first; without a retriever the passages it has."""
    if retriever is None:
        return [[answer.passages] * len(asked) for answer, asked in zip(answers, queries, strict=True)]
    found: list[list[Found]] = [[] for _ in answers]
    for number in range(max(map(len, queries), default=0)):
        rows = [row for row, asked in enumerate(queries) if number < len(asked)]
        run = retriever.search([Query(answers[row].query_id, queries[row][number]) for row in rows], k)
        for row in rows:
            found[row].append(tuple(run.rankings.get(answers[row].query_id, ()))[:k])
    return found


def fused(rankings: Sequence[Found]) -> Found:
    """All documents of several rankings once each, by reciprocal rank fusion, ties by doc_id; scores are the fused ones."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking, 1):
            scores[one.doc_id] = scores.get(one.doc_id, 0.0) + 1 / (FUSION + rank)
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ScoredDoc(doc_id, score) for doc_id, score in ordered)


def with_more(answer: Answer, more: Sequence[ScoredDoc], retriever: Retriever | None) -> Answer:
    """The answer with further passages behind its own, each document once: citations keep their passages' numbers.

    A closed-book answer that gets some is from now on one of `retriever`.
    """
    known = {one.doc_id for one in answer.passages}
    new = tuple(one for one in more if one.doc_id not in known)
    if not new:
        return answer
    name = retriever.name if retriever and answer.retriever == "none" else answer.retriever
    return replace(answer, passages=(*answer.passages, *new), retriever=name)


def texts_of(answer: Answer, found: Found, documents: Mapping[str, Document]) -> list[Document]:
    """The documents of a ranking that was found for an answer. Raises DataError for one that `documents` lacks."""
    return passages_of(replace(answer, passages=found), documents)
