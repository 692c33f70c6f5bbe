"""Questions -> answers with sources: retrieve, read, attribute.

Defined results, never exceptions, for what is nobody's fault: nothing retrieved, nothing relevant, or a reader that
does not know all give an abstention with no citation, which still records the passages that were read. Closed-book
(no retriever) an answer has no citation.
"""

import warnings
from collections.abc import Mapping, Sequence

from genir.errors import ConfigError, DataError
from genir.protocols import Generator, Retriever
from genir.records import Answer, Citation, Document, Query, ScoredDoc
from rag.attribution import attribute, lexical_support
from rag.prompt import UNKNOWN
from rag.reading import Reader, Reading, as_reader

LONGEST_QUESTION = 64  # words that a reader gets


def answer(
    questions: str | Query | Sequence[str | Query],
    retriever: Retriever | None,
    reader: Reader | Generator,
    documents: Mapping[str, Document],
    k: int = 3,
) -> list[Answer]:
    """One answer a question, in order, read from the best k passages of `retriever`; closed-book where it is None.

    Strings get the query ids "q1", "q2", ... Raises ConfigError for k below 1, for an empty question or for two queries with one id;
    DataError where the retriever names a document that `documents` lacks.
    """
    if k < 1:
        raise ConfigError(f"k = {k}: expected at least one passage; for an answer without passages use no retriever")
    queries = _as_queries(questions)
    reads = as_reader(reader)
    if not queries:
        return []
    found: list[tuple[ScoredDoc, ...]] = [()] * len(queries)
    if retriever is not None:
        run = retriever.search(queries, k)
        found = [tuple(run.rankings.get(query.query_id, ()))[:k] for query in queries]
    passages = [[_document(documents, scored.doc_id, retriever) for scored in ranking] for ranking in found]
    # A retriever that found nothing must not turn a grounded question into a closed-book one: those are not read at all.
    read = [i for i in range(len(queries)) if retriever is None or passages[i]]
    readings: dict[int, Reading] = dict(
        zip(read, reads.read(_shortened([queries[i].text for i in read]), [passages[i] for i in read]), strict=True)
    )
    nothing = Reading(UNKNOWN, abstained=True)
    return [
        _answer(
            query, readings.get(i, nothing), passages[i], found[i], retriever.name if retriever else "none", reads.name
        )
        for i, query in enumerate(queries)
    ]


def _shortened(questions: Sequence[str]) -> list[str]:
    """Questions of at most LONGEST_QUESTION words, so that every reader has room for evidence; a warning counts the cut ones."""
    cut = [" ".join(question.split()[:LONGEST_QUESTION]) for question in questions]
    longer = sum(len(question.split()) > LONGEST_QUESTION for question in questions)
    if longer:
        warnings.warn(
            f"{longer} of {len(questions)} questions have more than {LONGEST_QUESTION} words and were cut", stacklevel=2
        )
    return cut


def _as_queries(questions: str | Query | Sequence[str | Query]) -> list[Query]:
    several = [questions] if isinstance(questions, str | Query) else list(questions)
    queries = [q if isinstance(q, Query) else Query(f"q{i}", q) for i, q in enumerate(several, 1)]
    for query in queries:
        if not query.text.strip():
            raise ConfigError(f"question {query.query_id!r} is empty: expected some text")
    if len({query.query_id for query in queries}) < len(queries):
        raise ConfigError("two questions share one query_id: expected distinct ids")
    return queries


def _document(documents: Mapping[str, Document], doc_id: str, retriever: Retriever | None) -> Document:
    try:
        return documents[doc_id]
    except KeyError:
        name = retriever.name if retriever else "none"
        raise DataError(
            f"retriever {name!r} returned {doc_id!r}, which is not among the {len(documents)} documents: "
            "it was built for another corpus; build it again for this one"
        ) from None


def _answer(
    query: Query,
    reading: Reading,
    passages: Sequence[Document],
    found: tuple[ScoredDoc, ...],
    retriever: str,
    generator: str,
) -> Answer:
    citations: tuple[Citation, ...] = ()
    support = 0.0
    if not reading.abstained and reading.passage is not None and reading.span is not None:
        source, (start, end) = passages[reading.passage], reading.span
        citations = (Citation(source.doc_id, start, end, source.text[start:end]),)
        support = lexical_support(reading.text, f"{source.title} {citations[0].text}")
    elif not reading.abstained and passages:
        # The passage that the reader names is searched first; another one is cited only where that one holds nothing.
        named = [passages[reading.passage]] if reading.passage is not None else passages
        best = attribute(reading.text, query.text, named)
        if best.citation is None:
            best = attribute(reading.text, query.text, passages)
        support = best.support
        citations = () if best.citation is None else (best.citation,)
    return Answer(
        query.query_id, query.text, reading.text, citations, reading.abstained, support, retriever, generator, found
    )
