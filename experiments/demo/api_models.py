"""What the JSON API takes and gives: the schema at /api/openapi.json. Imported by the server only, because pydantic comes with FastAPI.

Offsets are in characters, ends exclusive; passages are numbered from 1, best first.
"""

from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from experiments.demo.answer_view import rank_of
from experiments.demo.limits import DEFAULT_LIMITS
from experiments.demo.progress import Asked, Caution, Passage, Progress
from genir.records import Answer, Citation, Claim, Rival
from rag.prompt import Turn


class TurnBody(BaseModel):
    """What was asked and answered earlier in a conversation. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")
    question: str
    answer: str


class SearchBody(BaseModel):
    """A question to search for. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")
    question: str = Field(description="The question, plain text.", examples=["What is the capital of Peru?"])
    retriever: str | None = Field(
        None,
        description="One of /api/health's retrievers; without, the first of them that holds documents in the question's language.",
    )
    passages: int = Field(5, ge=1, strict=True, description="Most passages to find.")
    history: list[TurnBody] = Field(
        default_factory=list,
        description="The conversation before the question, oldest turn first: a question that leans on it is made complete for the "
        "search. At most /api/health's limits `turns` and `history`.",
    )


class AnswerBody(SearchBody):
    """A question to answer."""

    generator: str | None = Field(
        None,
        description="One of /api/health's generators; without, the first of them, or, where the server was started without naming any, "
        "one that reads the question's language.",
    )
    threshold: float = Field(0.0, ge=0, le=1, strict=True, description="Answers of less confidence are held back.")
    closed_book: bool = Field(False, strict=True, description="Answer without documents, too.")


class PassageReply(BaseModel):
    """A passage that was found."""

    rank: int
    score: float = Field(description="In the retriever's own unit.")
    doc_id: str
    title: str
    text: str
    docid_tokens: list[int] = Field(description="The identifier that the model wrote; empty where it writes none.")
    identifier: str = Field(description="The same in words.")

    @classmethod
    def of(cls, one: Passage) -> "PassageReply":
        """The reply for a passage."""
        held, written = one.document, list(one.docid_tokens)
        return cls(
            rank=one.rank,
            score=one.score,
            doc_id=held.doc_id,
            title=held.title,
            text=held.text,
            docid_tokens=written,
            identifier=one.identifier,
        )


class CitationReply(BaseModel):
    """The stretch of a passage that a claim rests on."""

    passage: int | None = Field(description="Rank of the passage, from 1.")
    doc_id: str
    start: int
    end: int
    text: str

    @classmethod
    def of(cls, one: Citation, answer: Answer) -> "CitationReply":
        """The reply for a citation of an answer."""
        return cls(passage=rank_of(one, answer), doc_id=one.doc_id, start=one.start, end=one.end, text=one.text)


class ClaimReply(BaseModel):
    """One statement of the answer: characters start..end of its text."""

    text: str
    start: int
    end: int
    verdict: Literal["supported", "unsupported", "contradicted"]
    support: float = Field(description="The checker's probability that the citations say so.")
    citations: list[CitationReply]

    @classmethod
    def of(cls, one: Claim, answer: Answer) -> "ClaimReply":
        """The reply for a claim of an answer."""
        cited = [CitationReply.of(citation, answer) for citation in one.citations]
        return cls(
            text=one.text, start=one.start, end=one.end, verdict=one.verdict, support=one.support, citations=cited
        )


class RivalReply(BaseModel):
    """What another passage answers instead."""

    text: str
    confidence: float = Field(description="The generator's, beside that of the answer.")
    citation: CitationReply

    @classmethod
    def of(cls, one: Rival, answer: Answer) -> "RivalReply":
        """The reply for a rival of an answer."""
        return cls(text=one.text, confidence=one.confidence, citation=CitationReply.of(one.citation, answer))


class ClosedBookReply(BaseModel):
    """The same generator's answer without documents."""

    text: str
    abstained: bool


class SearchReply(BaseModel):
    """What was found."""

    question: str
    search_query: str = Field(description="What was searched for, where the history made it differ from the question.")
    retriever: str = Field(description="What found the passages.")
    passages: list[PassageReply]
    caution: Caution | None = Field(
        description="nothing_found: no passage at all; nothing_relevant: no passage shares a word with the question; not_answered: the "
        "generator sees no answer in the passages; below_threshold: the answer was held back."
    )
    seconds: dict[str, float] = Field(description="Stage -> seconds.")

    @classmethod
    def of(cls, progress: Progress) -> "SearchReply":
        """The reply for a search."""
        return cls(**_shared(progress))


class AnswerReply(SearchReply):
    """The answer, claim by claim, with its sources."""

    generator: str = Field(description="What answered.")
    text: str = Field(description="The answer; of an abstention, that nothing is known, in the question's language.")
    abstained: bool
    confidence: float
    claims: list[ClaimReply]
    rivals: list[RivalReply] = Field(description="Where other passages say otherwise; empty where none does.")
    held_back: str | None = Field(description="What it would have said, where the threshold kept it back.")
    closed_book: ClosedBookReply | None = Field(description="null where it was not asked for, or with `only_copies`.")
    only_copies: bool = Field(description="The generator only copies from passages, and answers nothing without them.")

    @classmethod
    def of(cls, progress: Progress) -> "AnswerReply":
        """The reply for a finished answer."""
        answer, without = progress.answer, progress.closed_book
        assert answer is not None
        return cls(
            **_shared(progress),
            generator=progress.asked.generator,
            text=answer.text,
            abstained=answer.abstained,
            confidence=answer.confidence,
            claims=[ClaimReply.of(claim, answer) for claim in answer.claims],
            rivals=[RivalReply.of(rival, answer) for rival in answer.rivals],
            held_back=progress.held_back.text if progress.held_back else None,
            closed_book=ClosedBookReply(text=without.text, abstained=without.abstained) if without else None,
            only_copies=progress.only_copies,
        )


def _limit(name: str, what: str) -> Any:
    """The field of a limit, with its usual value in the description."""
    return Field(description=f"{what} {getattr(DEFAULT_LIMITS, name):,.0f} unless the server was started with another.")


class LimitsReply(BaseModel):
    """What one client may take of this server: the limits in force. Beyond one, a request is refused, and the error says which."""

    question: int = _limit("question", "Most characters of a question; a longer one is refused (413).")
    body: int = _limit("body", "Most bytes of a request's body (413).")
    rate: int = _limit("rate", "Most questions a minute from one client, which is an address (429).")
    seconds: float = _limit("seconds", "Most seconds that a request may take (504).")
    queue: int = _limit("queue", "Most requests at once, of all clients, waiting ones included (503).")
    passages: int = _limit("passages", "Most passages that one question may read.")
    turns: int = _limit("turns", "Most earlier turns of a history.")
    history: int = _limit("history", "Most characters of all turns of a history.")


class HealthReply(BaseModel):
    """What this server holds."""

    status: Literal["ok"] = "ok"
    data: str
    documents: int
    retrievers: list[str]
    generators: list[str]
    limits: LimitsReply


class ErrorReply(BaseModel):
    """Why a request was not served."""

    error: str


def _shared(progress: Progress) -> dict[str, Any]:
    return {
        "question": progress.asked.question,
        "search_query": progress.search_query,
        "retriever": progress.asked.retriever,
        "passages": [PassageReply.of(passage) for passage in progress.passages or ()],
        "caution": progress.caution,
        "seconds": dict(progress.seconds),
    }


def asked_of(body: SearchBody) -> Asked:
    """The question of a request."""
    turns = tuple(Turn(one.question, one.answer) for one in body.history)
    asked = Asked(body.question, body.retriever or "", k=body.passages, closed_book=False, walk=False, turns=turns)
    if not isinstance(body, AnswerBody):
        return asked
    return replace(asked, generator=body.generator or "", threshold=body.threshold, closed_book=body.closed_book)
