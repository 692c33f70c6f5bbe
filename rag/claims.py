"""What an answer states, statement by statement, and what each rests on.

An answer's text is split into claims: lines, list items and sentences, as characters of the text. A claim's citations come from, in
this order: the characters that the reader quoted; the passages that it names by markers ([1]), at their sentence that holds most of the
claim; the sentences that hold the claim's telling words (`rag.attribution`), of the passage that the reader names first. So a claim
without a citation is one of whose telling words no passage holds any.

What the reader gave itself is `written`: what it quoted, what its markers name, what stands in the one passage that it names. The rest
we attributed, which says nothing of the reader: measures of its citations leave that out (`rag.measures.citation_quality`).

Invariants: an answer with text has at least one claim; claims do not overlap and stand in order; a citation's text is literally its
passage's. Known gap: a sentence that states two things is one claim.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from genir.records import Citation, Claim, Document
from rag.attribution import attribute, quote
from rag.markers import Marker, claim_of, take_markers
from rag.reading import Reading
from rag.sentences import split_sentences, words
from rag.verification import content_words

MOST_CITATIONS = 3  # sentences that one claim is attributed to
_LINE = re.compile(r"^[ \t]*(?:[-*•][ \t]+|\d{1,2}[.)][ \t]+)?(.*?)[ \t]*$", re.M)


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer before anybody checked it: text without markers, claims without verdicts.

    `support`: the share of the answer's words that the cited text holds. `dropped`: markers that named a passage which was not shown.
    """

    text: str
    claims: tuple[Claim, ...] = ()
    support: float = 0.0
    dropped: int = 0


def split_claims(text: str) -> list[tuple[int, int]]:
    """Offsets (start, end) of the claims of `text`, in order; the whole text where none has a word; none for blank text."""
    spans = [
        (line.start(1) + start, line.start(1) + end)
        for line in _LINE.finditer(text)
        for start, end in split_sentences(line[1])
        if words(line[1][start:end])
    ]
    begun = len(text) - len(text.lstrip())
    return spans or ([(begun, len(text.rstrip()))] if text.strip() else [])


def draft(reading: Reading, question: str, passages: Sequence[Document]) -> Draft:
    """The claims of a reading with their citations; of `passages` those count that the reader was shown."""
    quoted = reading.passage is not None and reading.span is not None
    text, markers = (reading.text, ()) if quoted else take_markers(reading.text)
    shown = passages[: reading.shown]
    dropped = sum(not 1 <= marker.passage <= len(shown) for marker in markers)
    spans = split_claims(text)
    if not spans:
        return Draft("", dropped=dropped)
    marked = _by_claim(markers, spans, bool(markers) and markers[0].at == 0)
    claims = []
    for (start, end), named in zip(spans, marked, strict=True):
        said = text[start:end]
        ranks = [rank for rank in named if 0 <= rank < len(shown)]
        if quoted:
            citations = _quotation(reading, text, start, end, shown)
        elif ranks:
            citations = [_sentence(said, question, shown, rank) for rank in ranks]
        else:
            citations = _attributed(said, question, shown, reading.passage)
        claims.append(Claim(said, start, end, tuple(citations), out_of_range=len(named) - len(ranks)))
    return Draft(text, tuple(claims), _support(claims, shown, quoted), dropped)


def _by_claim(markers: Sequence[Marker], spans: list[tuple[int, int]], leading: bool) -> list[list[int]]:
    """For each claim the ranks, from 0, of the passages that its markers name, each once, whether they were shown or not."""
    ranks: list[dict[int, None]] = [{} for _ in spans]
    for marker in markers:
        ranks[claim_of(marker, spans, leading)][marker.passage - 1] = None
    return [list(one) for one in ranks]


def _quotation(reading: Reading, text: str, start: int, end: int, passages: Sequence[Document]) -> list[Citation]:
    """The quoted characters: of several claims that are quoted together each its own."""
    assert reading.passage is not None
    assert reading.span is not None
    passage, (first, last) = passages[reading.passage], reading.span
    if passage.text[first:last] == text:
        first, last = first + start, first + end
    return [quote(passage, first, last, reading.passage, written=True)]


def _sentence(claim: str, question: str, passages: Sequence[Document], rank: int) -> Citation:
    """The sentence of one passage that holds most of the claim; all of the passage where none holds any."""
    found = attribute(claim, question, passages, [rank]).citation
    return replace(found or quote(passages[rank], 0, len(passages[rank].text), rank), written=True)


def _attributed(claim: str, question: str, passages: Sequence[Document], named: int | None) -> list[Citation]:
    """The best sentence, and others that hold at least two, and half, of the telling words that are missing yet.

    `named`: the rank of the passage that the reader names; sentences of it count as written.
    """
    best = attribute(claim, question, passages, None if named is None else [named])
    if best.citation is None:
        best = attribute(claim, question, passages)
    if best.citation is None:
        return []
    found = [best.citation]
    missing = _telling(claim, question) - set(words(best.citation.text))
    while len(missing) > 1 and len(found) < MOST_CITATIONS:
        more = attribute(" ".join(sorted(missing)), question, passages).citation
        gained = missing & set(words(more.text)) if more else set()
        if more is None or len(gained) < max(2, len(missing) / 2):
            break
        found.append(more)
        missing -= gained
    return [replace(one, written=one.passage == named) for one in found]


def _telling(claim: str, question: str) -> set[str]:
    return set(content_words(claim)) - set(words(question))


def _support(claims: Sequence[Claim], passages: Sequence[Document], quoted: bool) -> float:
    """The share of all claims' words that their citations hold; of a reader that quotes, the cited titles count too."""
    said = held = 0
    for claim in claims:
        titles = [passages[citation.passage].title for citation in claim.citations] if quoted else []
        source = set(words(" ".join([*titles, *(citation.text for citation in claim.citations)])))
        said += len(words(claim.text))
        held += sum(word in source for word in words(claim.text))
    return held / said if said else 0.0
