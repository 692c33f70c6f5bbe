"""Questions -> answers with sources: condense, retrieve, read, attribute, check.

Defined results, never exceptions, for what is nobody's fault: nothing retrieved, nothing relevant, a reader that does not know, or a
generator that writes nothing all give an abstention with no claim, which still records the passages that were read. It is worded here,
for every reader: as its own template says where that is not the usual one, else in the question's language. Closed-book (no retriever) an
answer's claims cite nothing. A marker that names a passage which was not shown is dropped and counted in a warning; its
claim is attributed like any other. Where the reader sees that other passages answer otherwise, the answer has their `rivals`.

In a conversation the retriever gets the condensed question; a reader that knows conversations gets the question as it was asked, with
the earlier turns, any other the condensed one.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from genir.errors import ConfigError, DataError
from genir.protocols import Generator, IdentifierWriter, Retriever
from genir.records import Answer, Citation, Document, Query, Rival, ScoredDoc
from rag.attribution import quote
from rag.claims import Draft, draft
from rag.conversation import Condenser, RuleCondenser
from rag.packing import count_words, cut
from rag.prompt import UNKNOWN, PromptTemplate, Turn
from rag.reading import ConversationReader, Reader, Reading, StreamingReader, as_reader
from rag.template import unknown_for
from rag.verdicts import judge
from rag.verification import LexicalChecker, SupportChecker

_NO_ANSWER = Reading("", abstained=True)
LONGEST_QUESTION = 64  # words that a reader gets
_LONGEST_COUNTED = 2 * LONGEST_QUESTION  # where every character counts as a word


def answer(
    questions: str | Query | Sequence[str | Query],
    retriever: Retriever | None,
    reader: Reader | Generator,
    documents: Mapping[str, Document],
    k: int = 3,
    *,
    conversations: Sequence[Sequence[Turn]] = (),
    condenser: Condenser | None = None,
    checker: SupportChecker | None = None,
) -> list[Answer]:
    """One answer a question, in order, read from the best k passages of `retriever`; closed-book where it is None.

    Strings get the query ids "q1", "q2", ... `conversations` holds each question's earlier turns, oldest first, or nothing at all;
    `condenser` (by rules) makes follow-ups complete, `checker` (lexical) says which claims are supported. Raises ConfigError for k below 1,
    for an empty question, for two queries with one id, or for another number of conversations than of questions; DataError where the
    retriever names a document that `documents` lacks.
    """
    reads = as_reader(reader)
    asked = _retrieve(questions, retriever, documents, k, conversations, condenser)
    # A retriever that found nothing must not turn a grounded question into a closed-book one: those are not read at all.
    rows = [row for row, one in enumerate(asked) if retriever is None or one.passages]
    readings = [_NO_ANSWER] * len(asked)
    for row, reading in zip(rows, _read([asked[row] for row in rows], reads), strict=True):
        readings[row] = reading
    return _answers(asked, readings, retriever, reads, checker)


def answer_stream(
    question: str | Query,
    retriever: Retriever | None,
    reader: Reader | Generator,
    documents: Mapping[str, Document],
    k: int = 3,
    *,
    turns: Sequence[Turn] = (),
    condenser: Condenser | None = None,
    checker: SupportChecker | None = None,
) -> Iterator[str | Answer]:
    """The answer's text in pieces as it is written, then the finished `Answer`, whose text the pieces are; see `answer`.

    A reader that cannot stream gives its text word by word once it has it. Errors are raised with the first piece that is asked for.
    """
    reads = as_reader(reader)
    [asked] = _retrieve(question, retriever, documents, k, [turns], condenser)
    reading, streamed = _NO_ANSWER, False
    if asked.passages or retriever is None:
        if isinstance(reads, StreamingReader):
            own = isinstance(reads, ConversationReader)
            [told] = _cut([asked.query.text if own else asked.searched])
            for piece in reads.read_stream(told, asked.passages, asked.turns if own else ()):
                if isinstance(piece, Reading):
                    reading = piece
                else:
                    streamed = True
                    yield piece
        else:
            [reading] = _read([asked], reads)
    [finished] = _answers([asked], [reading], retriever, reads, checker)
    if not streamed:
        yield from _word_by_word(finished.text)
    yield finished


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, what was searched for, what went before, and what was found."""

    query: Query
    searched: str
    turns: tuple[Turn, ...]
    found: tuple[ScoredDoc, ...]
    passages: tuple[Document, ...]


def _retrieve(
    questions: str | Query | Sequence[str | Query],
    retriever: Retriever | None,
    documents: Mapping[str, Document],
    k: int,
    conversations: Sequence[Sequence[Turn]],
    condenser: Condenser | None,
) -> list[_Asked]:
    if k < 1:
        raise ConfigError(f"k = {k}: expected at least one passage; for an answer without passages use no retriever")
    queries = _as_queries(questions)
    turns = [tuple(one) for one in conversations] or [()] * len(queries)
    if len(turns) != len(queries):
        raise ConfigError(f"{len(turns)} conversations for {len(queries)} questions: expected one each, or none at all")
    if not queries:
        return []
    texts = [query.text for query in queries]
    searched = (condenser or RuleCondenser()).condense(texts, turns) if any(turns) else texts
    found: list[tuple[ScoredDoc, ...]] = [()] * len(queries)
    if retriever is not None:
        run = retriever.search([replace(query, text=text) for query, text in zip(queries, searched, strict=True)], k)
        found = [tuple(run.rankings.get(query.query_id, ()))[:k] for query in queries]
    return [
        _Asked(query, text, earlier, ranking, tuple(_document(documents, one.doc_id, retriever) for one in ranking))
        for query, text, earlier, ranking in zip(queries, searched, turns, found, strict=True)
    ]


def _read(asked: Sequence[_Asked], reader: Reader) -> list[Reading]:
    passages = [one.passages for one in asked]
    if isinstance(reader, ConversationReader) and any(one.turns for one in asked):
        return reader.read_turns(_cut([one.query.text for one in asked]), passages, [one.turns for one in asked])
    return reader.read(_cut([one.searched for one in asked]), passages)


def _cut(questions: Sequence[str]) -> list[str]:
    """Questions of at most LONGEST_QUESTION words, so that every reader has room for evidence; a warning counts the cut ones."""
    short = [" ".join(question.split()[:LONGEST_QUESTION]) for question in questions]
    short = [cut(question, lambda text: count_words(text) <= _LONGEST_COUNTED) for question in short]
    longer = sum(" ".join(question.split()) != kept for question, kept in zip(questions, short, strict=True))
    if longer:
        warnings.warn(
            f"{longer} of {len(questions)} questions have more than {LONGEST_QUESTION} words and were cut", stacklevel=4
        )
    return short


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


def _unknown(reader: Reader, question: str) -> str:
    """What an abstention says: as the reader's own template words it, where that is not the usual one; else in the question's language."""
    template = getattr(reader, "template", None)
    if isinstance(template, PromptTemplate) and template.unknown != UNKNOWN:
        return template.unknown
    return unknown_for(question)


def _answers(
    asked: Sequence[_Asked],
    readings: Sequence[Reading],
    retriever: Retriever | None,
    reader: Reader,
    checker: SupportChecker | None,
) -> list[Answer]:
    """Readings as answers: claims, citations with their identifiers, verdicts."""
    drafts = [
        Draft("") if reading.abstained else draft(reading, one.searched, one.passages)
        for one, reading in zip(asked, readings, strict=True)
    ]
    if dropped := sum(one.dropped for one in drafts):
        warnings.warn(
            f"{dropped} citation markers name passages that were not shown and were dropped; their claims are attributed by words",
            stacklevel=3,
        )
    questions, passages = [one.searched for one in asked], [one.passages for one in asked]
    claims = judge([one.claims for one in drafts], questions, passages, checker or LexicalChecker())
    rivals = [_rivals(reading, one.passages) for one, reading in zip(asked, readings, strict=True)]
    cited = [citation for found in claims for claim in found for citation in claim.citations]
    named = _naming([*cited, *(one.citation for found in rivals for one in found)], retriever)
    claims = [
        tuple(replace(claim, citations=tuple(map(named, claim.citations))) for claim in found) for found in claims
    ]
    rivals = [tuple(replace(one, citation=named(one.citation)) for one in found) for found in rivals]
    return [
        Answer(
            query_id=one.query.query_id,
            question=one.query.text,
            text=made.text if judged else _unknown(reader, one.query.text),
            citations=tuple(dict.fromkeys(citation for claim in judged for citation in claim.citations)),
            abstained=not judged,
            support=made.support,
            retriever=retriever.name if retriever else "none",
            generator=reader.name,
            passages=one.found,
            claims=judged,
            confidence=reading.certainty,
            search_query="" if one.searched == one.query.text else one.searched,
            rivals=found if judged else (),
        )
        for one, reading, made, judged, found in zip(asked, readings, drafts, claims, rivals, strict=True)
    ]


def _rivals(reading: Reading, passages: Sequence[Document]) -> tuple[Rival, ...]:
    return tuple(
        Rival(one.text, quote(passages[one.passage], *one.span, one.passage, written=True), one.probability)
        for one in reading.rivals
    )


def _naming(citations: Iterable[Citation], retriever: Retriever | None) -> Callable[[Citation], Citation]:
    """What gives one of these citations the identifier that the retriever wrote, where it writes any."""
    if not isinstance(retriever, IdentifierWriter):
        return lambda citation: citation
    written = retriever.written(list(dict.fromkeys(citation.doc_id for citation in citations)))

    def named(citation: Citation) -> Citation:
        tokens, spelt = written.get(citation.doc_id, ((), ""))
        return replace(citation, docid_tokens=tokens, identifier=spelt)

    return named


def _word_by_word(text: str) -> Iterator[str]:
    """Pieces of a text, each but the first with the white space in front of it."""
    start = 0
    while start < len(text):
        gap = text.find(" ", start + 1)
        end = gap if gap >= 0 else len(text)
        yield text[start:end]
        start = end
