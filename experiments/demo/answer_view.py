"""An Answer as HTML: its claims coloured by their verdict, each with the numbers of its sources.

A source's number is its passage's rank, so that the numbers in the text and those of the passages below agree. Every citation also has
a running number of its own (`data-cite`), by which a click finds the very words.
"""

from collections.abc import Iterator, Mapping

from experiments.demo.markup import element, escaped
from experiments.demo.wording import Wording
from genir.records import Answer, Citation, Claim, Verdict

VERDICTS: tuple[Verdict, ...] = ("supported", "unsupported", "contradicted")


def numbered_citations(answer: Answer) -> list[tuple[int, Citation, Claim]]:
    """(running number, citation, its claim) of all citations of all claims, in order."""
    pairs = [(citation, claim) for claim in answer.claims for citation in claim.citations]
    return [(number, citation, claim) for number, (citation, claim) in enumerate(pairs)]


def rank_of(citation: Citation, answer: Answer) -> int | None:
    """The rank, from 1, of the passage that a citation points to; None where the answer read no such passage."""
    if 0 <= citation.passage < len(answer.passages):
        return citation.passage + 1
    ranks = [rank for rank, one in enumerate(answer.passages, 1) if one.doc_id == citation.doc_id]
    return ranks[0] if ranks else None


def answer_html(answer: Answer, titles: Mapping[str, str], wording: Wording) -> str:
    """The answer with its claims and their sources, then what other passages say, the confidence, and what the colours mean."""
    if answer.abstained:
        return _card(element("p", escaped(wording.abstained), class_="text"), "abstained")
    body = element("p", "".join(_pieces(answer, titles, wording)), class_="text")
    return _card(body + _rivals(answer, wording) + _confidence(answer, wording) + _legend(answer, wording), "answered")


def closed_book_html(answer: Answer, wording: Wording) -> str:
    """An answer that was given without documents: no claim of it can be checked, so none is coloured."""
    if answer.abstained:
        return _card(element("p", escaped(wording.abstained), class_="text"), "abstained")
    text = element("p", escaped(answer.text), class_="text")
    return _card(text + element("p", escaped(wording.from_memory), class_="note"), "memory")


def only_copies_html(generator: str, wording: Wording) -> str:
    """Why there is no answer without documents."""
    return _card(element("p", escaped(wording.only_copies.format(generator=generator)), class_="note"), "copies")


def writing_html(text: str, wording: Wording) -> str:
    """An answer that is still being written."""
    shown = escaped(text) if text else element("span", escaped(wording.waiting), class_="note")
    return _card(element("p", shown + element("span", "", class_="caret"), class_="text"), "writing")


def caution_html(message: str) -> str:
    """A warning above the answer; nothing for an empty message."""
    return element("div", escaped(message), class_="caution", role="alert") if message else ""


def _card(content: str, kind: str) -> str:
    return element("div", content, class_=f"card {kind}")


def _pieces(answer: Answer, titles: Mapping[str, str], wording: Wording) -> Iterator[str]:
    """The answer's text, what lies between the claims as it is."""
    numbers = iter(numbered_citations(answer))
    end = 0
    for claim in answer.claims:
        start = max(claim.start, end)  # claims stand in order; one that overlaps the last is shown from its end on
        yield escaped(answer.text[end:start])
        support = f"{claim.support:.0%}"
        told = f"{wording.verdicts[claim.verdict]} ({wording.supported_by.format(support=support)})"
        yield element("span", escaped(answer.text[start : claim.end]), class_=f"claim {claim.verdict}", title=told)
        for _ in claim.citations:
            number, citation, _ = next(numbers)
            yield _link(number, citation, answer, titles, wording)
        end = max(claim.end, end)
    yield escaped(answer.text[end:])


def _link(number: int, citation: Citation, answer: Answer, titles: Mapping[str, str], wording: Wording) -> str:
    """The number that leads to a source; nothing where it leads nowhere."""
    rank = rank_of(citation, answer)
    if rank is None:
        return ""
    told = wording.source.format(number=rank, title=titles.get(citation.doc_id) or citation.doc_id)
    told += f": “{citation.text}”"
    return element(
        "button", str(rank), type="button", class_="cite", data_cite=number, data_rank=rank, title=told, aria_label=told
    )


def _rivals(answer: Answer, wording: Wording) -> str:
    """Which passages say otherwise, and what."""
    told = [(rank_of(rival.citation, answer), rival.text) for rival in answer.rivals]
    return "".join(caution_html(wording.otherwise.format(number=rank, text=text)) for rank, text in told)


def _confidence(answer: Answer, wording: Wording) -> str:
    if not answer.confidence:
        return ""
    return element("p", escaped(f"{wording.confidence} {answer.confidence:.2f}"), class_="note")


def _legend(answer: Answer, wording: Wording) -> str:
    """What the colours mean, those that the answer has first; "contradicted" only where it has that: not every checker says so."""
    had = {claim.verdict for claim in answer.claims}
    shown = [verdict for verdict in VERDICTS if verdict != "contradicted" or verdict in had]
    entries = [
        element("span", escaped(wording.verdicts[verdict]), class_=f"claim {verdict}")
        for verdict in sorted(shown, key=lambda one: one not in had)
    ]
    return element("p", " ".join(entries), class_="legend")
