"""Questions in, states of their answers out: search, reading, closed-book, with the seconds of each and the limits of all.

One worker thread does everything that touches a model, a step at a time, in the order in which the steps are asked for: visitors take
turns, piece by piece of a streamed answer, and no model is ever entered by two threads.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from experiments.demo.conversation import check_turns, condensed
from experiments.demo.library import Library
from experiments.demo.limits import DEFAULT_LIMITS, Limits, Rate, RefusalError, check_question
from experiments.demo.progress import Asked, Caution, Passage, Progress
from experiments.demo.steps import Steps
from experiments.demo.walk import Walk, can_walk, search_and_walk
from genir.protocols import IdentifierWriter
from genir.records import Answer, DocIDTokens, Query, Run, ScoredDoc
from genir.words import ENGLISH_STOPWORDS
from rag.answering import answer as answer_questions
from rag.answering import answer_stream
from rag.sentences import words
from rag.template import unknown_for

_QUERY = "question"


class Desk:
    """Answers questions from a library within limits. `close` it at the end."""

    def __init__(self, library: Library, limits: Limits = DEFAULT_LIMITS) -> None:
        self.library = library
        self.limits = limits
        self._rate = Rate(limits.rate)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._asking = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Drop what has not begun."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def answer(self, asked: Asked, client: str) -> Iterator[Progress]:
        """The states of an answer, the last one `finished`. Raises RefusalError, and ConfigError for unknown names."""
        asked = self._checked(asked)
        with self._admitted(client) as steps:
            progress = Progress(asked, search_query=_search_query(asked))
            yield progress
            passages, walk = self._passages(asked, steps)
            progress = replace(progress, passages=passages, walk=walk, seconds=steps.seconds)
            progress = replace(progress, only_copies=self.library.only_copies(asked.generator))
            yield progress
            for piece in steps.each("answer", lambda: self._read(asked, passages)):
                if isinstance(piece, Answer):
                    progress = judged(replace(progress, answer=piece, seconds=steps.seconds))
                else:
                    progress = replace(progress, text=progress.text + piece)
                yield progress
            if asked.closed_book and not progress.only_copies:
                progress = replace(progress, closed_book=steps.run("closed_book", lambda: self._from_memory(asked)))
            yield replace(progress, seconds=steps.seconds, finished=True)

    def search(self, asked: Asked, client: str) -> Progress:
        """The passages alone. Raises as `answer` does."""
        asked = self._checked(asked)
        with self._admitted(client) as steps:
            passages, _ = self._passages(asked, steps)
            caution: Caution | None = None if passages else "nothing_found"
            found = Progress(asked, passages=passages, caution=caution, seconds=steps.seconds, finished=True)
            return replace(found, search_query=_search_query(asked))

    def _checked(self, asked: Asked) -> Asked:
        """`asked` with a stripped question and history, and with names where it has none.

        Raises RefusalError and ConfigError for what cannot be asked.
        """
        if not 1 <= asked.k <= self.limits.passages:
            raise RefusalError(400, f"{asked.k} passages: expected 1 to {self.limits.passages}")
        if not 0 <= asked.threshold <= 1:
            raise RefusalError(400, f"threshold {asked.threshold}: expected 0 to 1")
        question, turns = check_question(asked.question, self.limits), check_turns(asked.turns, self.limits)
        retriever = asked.retriever or self.library.default_retriever(question)
        generator = asked.generator or self.library.default_reader(question)
        self.library.check(retriever, generator)
        return replace(asked, question=question, turns=turns, retriever=retriever, generator=generator)

    @contextmanager
    def _admitted(self, client: str) -> Iterator[Steps]:
        """A place among those who are served or wait. Raises RefusalError (429, 503) where there is none."""
        with self._lock:
            if self._asking >= self.limits.queue:
                raise RefusalError(503, f"{self._asking} questions are waiting already: ask again in a moment")
            self._rate.admit(client)  # last: what is refused does not count
            self._asking += 1
        try:
            yield Steps(self._worker, self.limits.seconds)
        finally:
            with self._lock:
                self._asking -= 1

    def _passages(self, asked: Asked, steps: Steps) -> tuple[tuple[Passage, ...], Walk | None]:
        """Load what is missing, then search."""
        library = self.library
        if not library.is_ready(asked.retriever, asked.generator):
            steps.run("load", lambda: library.make_ready(asked.retriever, asked.generator))
        return steps.run("search", lambda: self._search(asked))

    def _search(self, asked: Asked) -> tuple[tuple[Passage, ...], Walk | None]:
        retriever, walk = self.library.retriever(asked.retriever), None
        wanted = condensed(asked.question, asked.turns)
        shelf = self.library.shelf(asked.retriever) if asked.walk else None
        if shelf is not None and can_walk(retriever):
            ranking, walk = search_and_walk(retriever, wanted, asked.k, shelf)
        else:
            ranking = retriever.search([Query(_QUERY, wanted)], asked.k).rankings[_QUERY]
        doc_ids = [one.doc_id for one in ranking]
        written = retriever.written(doc_ids) if isinstance(retriever, IdentifierWriter) else {}
        passages = (
            Passage(self.library.documents[one.doc_id], rank, one.score, *written.get(one.doc_id, ((), "")))
            for rank, one in enumerate(ranking, 1)
        )
        return tuple(passages), walk

    def _read(self, asked: Asked, passages: Sequence[Passage]) -> Iterator[str | Answer]:
        """The answer in pieces, then whole; whole at once where it may yet be held back."""
        reader, found = self.library.reader_for(asked.generator, asked.question), Found(asked.retriever, passages)
        given = (asked.question, found, reader, self.library.documents, asked.k)
        checker = self.library.checker()
        if asked.threshold > 0:
            return iter(answer_questions(*given, conversations=[asked.turns], checker=checker))
        return answer_stream(*given, turns=asked.turns, checker=checker)

    def _from_memory(self, asked: Asked) -> Answer:
        reader, documents = self.library.reader_for(asked.generator, asked.question), self.library.documents
        question = condensed(asked.question, asked.turns)  # earlier turns would tell what documents said
        [found] = answer_questions(question, None, reader, documents)
        return found


class Found:
    """A retriever that has searched already: it gives the passages at hand, with the identifiers that were written for them."""

    def __init__(self, name: str, passages: Sequence[Passage]) -> None:
        self.name = name
        self.passages = passages

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """The same passages for every query."""
        ranking = tuple(ScoredDoc(one.document.doc_id, one.score) for one in self.passages[:k])
        return Run(self.name, {query.query_id: ranking for query in queries})

    def written(self, doc_ids: Sequence[str]) -> dict[str, tuple[DocIDTokens, str]]:
        """Their identifiers, where the retriever that found them writes any."""
        held = {one.document.doc_id: (one.docid_tokens, one.identifier) for one in self.passages if one.docid_tokens}
        return {doc_id: held[doc_id] for doc_id in doc_ids if doc_id in held}


def judged(progress: Progress) -> Progress:
    """A progress with its answer held back where it is less sure than asked for, and with the caution that it deserves."""
    answer, asked = progress.answer, progress.asked
    if answer is None:
        return progress
    if not progress.passages:
        return replace(progress, caution="nothing_found")
    if not _share_a_word(progress.search_query or asked.question, progress.passages):
        return replace(progress, caution="nothing_relevant")
    if answer.abstained:
        return replace(progress, caution="not_answered")
    if answer.confidence < asked.threshold:
        said = unknown_for(asked.question)
        kept_back = replace(answer, text=said, claims=(), citations=(), rivals=(), abstained=True)
        return replace(progress, answer=kept_back, held_back=answer, caution="below_threshold")
    return progress


def _search_query(asked: Asked) -> str:
    """What is searched for, where the conversation makes it differ from the question."""
    wanted = condensed(asked.question, asked.turns)
    return "" if wanted == asked.question else wanted


def _share_a_word(question: str, passages: Sequence[Passage]) -> bool:
    """Whether any passage holds any word of the question that is not a stop word."""
    asked = set(words(question)) - ENGLISH_STOPWORDS
    return any(not asked.isdisjoint(words(passage.document.title_and_text)) for passage in passages)
