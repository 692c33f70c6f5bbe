"""What `genir answer` prints beneath an answer: each claim with its verdict and support, and the sentences that it rests on.

    Oslo
      supported .95
        [Norway] Its capital and largest city is Oslo.  (norway, characters 56 to 60)

In a terminal the cited characters stand out in bold, in a pipe all is plain text. A claim that is the whole answer is not said again, nor
is a sentence that only repeats its claim. Invariants: what documents say is text, never markup, and a line stays one line.
"""

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from experiments.tables import figure
from rag.sentences import split_sentences

if TYPE_CHECKING:
    from rich.text import Text

    from genir.records import Answer, Citation, Claim, Document

MOST = 240  # characters of a passage
_WORD = 20  # characters within which a cut looks for a space
_STYLES = {"supported": "green", "unsupported": "yellow", "contradicted": "red"}


def print_sources(found: "Answer", documents: "Mapping[str, Document]") -> None:
    """Where the answer stands, claim by claim, and what says otherwise; where it stands nowhere, why."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    for line in _lines(found, documents):
        console.print(line, soft_wrap=True)


def excerpt(text: str, start: int, end: int, most: int = MOST) -> tuple[str, str, str]:
    """(before, cited, after): the sentences of `text` around its characters start..end, about `most` characters of them at most.

    What is left out is an ellipsis; cuts are at spaces, where there is one near.
    """
    spans = split_sentences(text)
    first = max((one for one, _ in spans if one <= start), default=start)
    last = min((one for _, one in spans if one >= end), default=end)
    room = max(0, most - (end - start))
    begin = max(first, start - max(room // 2, room - (last - end)))
    finish = min(last, end + room - (start - begin))
    before, cited, after = text[begin:start], text[start:end], text[end:finish]
    if begin > first:
        before = "…" + before[before.find(" ", 0, _WORD) + 1 :]
    if len(cited) > most:
        cited = _cut(cited[:most]) + "…"
    elif finish < last:
        after = _cut(after) + "…"
    return before, cited, after


def _lines(found: "Answer", documents: "Mapping[str, Document]") -> "list[Text]":
    from rich.text import Text

    lines = []
    if found.search_query:
        lines.append(Text(f"  (searched for: {_plain(found.search_query)})"))
    if not found.citations:
        return [*lines, Text(f"  {_plain(_why(found))}")]
    for claim in found.claims:
        lines.append(_verdict(claim, found))
        lines += [_source(citation, claim, documents) for citation in claim.citations]
    for rival in found.rivals:
        place = f"[{_title(rival.citation, documents)}] ({_plain(rival.citation.doc_id)})"
        lines.append(Text(f"  passage {rival.citation.passage + 1} says otherwise: {_plain(rival.text)}  {place}"))
    return lines


def _verdict(claim: "Claim", found: "Answer") -> "Text":
    from rich.text import Text

    support = f"{claim.support:.2f}".removeprefix("0")
    said = "" if claim.text == found.text else f": {_plain(claim.text)}"
    return Text.assemble("  ", (claim.verdict, _STYLES[claim.verdict]), f" {support}{said}")


def _source(citation: "Citation", claim: "Claim", documents: "Mapping[str, Document]") -> "Text":
    """The title, the sentence unless it only repeats the claim, and the place."""
    from rich.text import Text

    held = documents[citation.doc_id].text
    before, cited, after = "", citation.text, ""
    if held[citation.start : citation.end] == citation.text:
        before, cited, after = excerpt(held, citation.start, citation.end)
    line = Text(f"    [{_title(citation, documents)}]")
    if citation.text != claim.text or f"{before}{after}".strip("…"):
        line.append(f" {_plain(before)}").append(_plain(cited), "bold" if before or after else "").append(_plain(after))
    written = f"; identifier {_plain(citation.identifier)}" if citation.identifier else ""
    return line.append(f"  ({_plain(citation.doc_id)}, characters {citation.start} to {citation.end}{written})", "dim")


def _why(found: "Answer") -> str:
    """Why an answer has no source."""
    if found.retriever == "none":
        memory = "answers from memory alone: no source"
        return f"{found.generator} {'has no passages to read (--retriever none)' if found.abstained else memory}."
    if not found.passages:
        return f"{found.retriever} finds no passage for this question."
    if found.abstained:
        return f"{found.generator} sees no answer in the {len(found.passages)} passages of {found.retriever}."
    return f"None of the {len(found.passages)} passages of {found.retriever} supports this."


def _title(citation: "Citation", documents: "Mapping[str, Document]") -> str:
    return _plain(documents[citation.doc_id].title or citation.doc_id)


def _cut(text: str) -> str:
    """Without the word that it breaks off in."""
    space = text.rfind(" ", max(0, len(text) - _WORD))
    return text[:space] if space >= 0 else text


def _plain(text: str) -> str:
    """On one line, without escape sequences."""
    return re.sub(r"\s+", " ", figure(text)) if text else ""
