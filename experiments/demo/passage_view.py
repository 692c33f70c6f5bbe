"""The passages that were read as HTML: rank, title, score, DocID, and the words that support the answer highlighted.

A cited stretch is a `mark`; within it, what the claim and the question say, too, is `strong`. Each mark names the
citations that it belongs to in `data-cites`, so that a click on a number lights up that source alone.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from experiments.demo.answer_view import numbered_citations, rank_of
from experiments.demo.markup import element, escaped
from experiments.demo.progress import Passage
from experiments.demo.wording import Wording
from genir.records import Answer
from genir.words import ENGLISH_STOPWORDS, UNSPACED
from rag.sentences import words

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")

Stretch = tuple[int, int, int]  # start, end, running number of the citation


def passages_html(passages: Sequence[Passage], answer: Answer | None, wording: Wording) -> str:
    """All passages, best first; those that the answer cites are open."""
    if not passages:
        return ""
    cited = _stretches_by_rank(answer) if answer is not None else {}
    body = "".join(_passage(passage, answer, cited.get(passage.rank, []), wording) for passage in passages)
    return element("h3", escaped(wording.sources)) + body


def _stretches_by_rank(answer: Answer) -> dict[int, list[Stretch]]:
    found: dict[int, list[Stretch]] = {}
    for number, citation, _ in numbered_citations(answer):
        rank = rank_of(citation, answer)
        if rank is not None and citation.start < citation.end:
            found.setdefault(rank, []).append((citation.start, citation.end, number))
    return found


def _passage(passage: Passage, answer: Answer | None, stretches: Sequence[Stretch], wording: Wording) -> str:
    document = passage.document
    facts = [f"{wording.rank} {passage.rank}", f"{wording.score} {passage.score:.3f}", document.doc_id]
    if passage.identifier:
        facts.append(f"DocID {passage.identifier}")
    head = element("span", str(passage.rank), class_="number")
    head += element("span", escaped(document.title or document.doc_id), class_="title")
    head += element("span", escaped(" · ".join(facts)), class_="facts")
    text = "".join(_marked(document.text, stretches, _shared(answer)))
    body = element("summary", head) + element("p", text)
    return element("details", body, class_="passage", data_rank=passage.rank, open=bool(stretches))


def _shared(answer: Answer | None) -> dict[int, frozenset[str]]:
    """For every citation: the words of its claim and of the question that are worth pointing at."""
    if answer is None:
        return {}
    asked = frozenset(words(answer.question))
    return {
        number: (frozenset(words(claim.text)) | asked) - ENGLISH_STOPWORDS
        for number, _, claim in numbered_citations(answer)
    }


def _marked(text: str, stretches: Sequence[Stretch], shared: dict[int, frozenset[str]]) -> Iterator[str]:
    """The text, cut wherever a stretch begins or ends, each piece marked with the citations that cover it."""
    borders = sorted({0, len(text), *(min(place, len(text)) for start, end, _ in stretches for place in (start, end))})
    for start, end in pairwise(borders):
        covering = [number for first, last, number in stretches if first <= start and end <= last]
        if not covering:
            yield escaped(text[start:end])
            continue
        wanted = frozenset[str]().union(*(shared.get(number, frozenset()) for number in covering))
        inside = "".join(_with_words(text[start:end], wanted))
        yield element("mark", inside, data_cites=" ".join(map(str, covering)))


def _with_words(piece: str, wanted: frozenset[str]) -> Iterator[str]:
    """A stretch with its supporting words marked within it."""
    end = 0
    for match in _WORD.finditer(piece):
        if any(word in wanted for word in words(match.group())):
            yield escaped(piece[end : match.start()])
            yield element("strong", escaped(match.group()))
            end = match.end()
    yield escaped(piece[end:])
