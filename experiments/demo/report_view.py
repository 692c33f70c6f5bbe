"""One state of a question as the pieces of the page: what stands where, in one language."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.demo.answer_view import answer_html, caution_html, closed_book_html, only_copies_html, writing_html
from experiments.demo.conversation import Conversation, conversation_html
from experiments.demo.markup import element, escaped
from experiments.demo.passage_view import passages_html
from experiments.demo.progress import Progress
from experiments.demo.tree_view import tree_html
from experiments.demo.wording import Wording


@dataclass(frozen=True)
class Pieces:
    """The HTML of each part of the page, in the order of the page's components."""

    caution: str = ""
    closed_book: str = ""
    grounded: str = ""
    passages: str = ""
    tree: str = ""
    seconds: str = ""
    conversation: str = ""


def empty_pieces(wording: Wording) -> Pieces:
    """The page before the first question."""
    note = element("p", escaped(wording.nothing_yet), class_="note")
    return Pieces(grounded=element("div", note, class_="card"))


def refused_pieces(message: str, before: Conversation, wording: Wording) -> Pieces:
    """The page after a question that was not served; the conversation before it stays."""
    return Pieces(caution=caution_html(message), conversation=conversation_html(before, wording))


def pieces_of(progress: Progress, wording: Wording) -> Pieces:
    """The page at one moment of a question."""
    passages = progress.passages or ()
    titles = {one.document.doc_id: one.document.title for one in passages}
    if progress.answer is None:
        grounded = writing_html(progress.text, wording)
    else:
        grounded = (
            answer_html(progress.answer, titles, wording) + _held_back(progress, wording) + _used(progress, wording)
        )
    return Pieces(
        caution=caution_html(wording.cautions[progress.caution] if progress.caution else ""),
        closed_book=_closed_book(progress, wording),
        grounded=grounded,
        passages=passages_html(passages, progress.answer, wording),
        tree=_tree(progress, wording),
        seconds=seconds_html(progress.seconds, wording),
        conversation=_conversation(progress, wording),
    )


def seconds_html(seconds: Mapping[str, float], wording: Wording) -> str:
    """The seconds of each stage, as text and as shares of one bar."""
    total = sum(seconds.values())
    if not total:
        return ""
    bars = "".join(
        element(
            "span", "", class_=f"bar {stage}", style=f"flex-grow:{100 * spent / total:.2f}", title=wording.stages[stage]
        )
        for stage, spent in seconds.items()
    )
    named = " · ".join(f"{wording.stages[stage]} {spent:.2f} s" for stage, spent in seconds.items())
    head = element("p", escaped(f"{wording.seconds.format(total=f'{total:.2f}')}: {named}"), class_="note")
    return element("div", element("div", bars, class_="bars") + head, class_="seconds")


def _closed_book(progress: Progress, wording: Wording) -> str:
    if progress.closed_book is not None:
        return closed_book_html(progress.closed_book, wording)
    if progress.only_copies and progress.asked.closed_book:
        return only_copies_html(progress.asked.generator, wording)
    return "" if progress.finished or not progress.asked.closed_book else writing_html("", wording)


def _conversation(progress: Progress, wording: Wording) -> str:
    asked = progress.asked
    html = conversation_html(Conversation(asked.turns, asked.forgotten), wording, asked.question, progress.search_query)
    return html + element("p", escaped(wording.goes_on), class_="note") if progress.finished else html


def _held_back(progress: Progress, wording: Wording) -> str:
    """What the reader would have said, where the threshold kept it back."""
    held = progress.held_back
    if held is None:
        return ""
    figures = {"confidence": f"{held.confidence:.2f}", "threshold": f"{progress.asked.threshold:.2f}"}
    return element("p", escaped(wording.held_back.format(text=held.text, **figures)), class_="note")


def _used(progress: Progress, wording: Wording) -> str:
    """What found the passages and what answered, which the visitor may have left open."""
    used = wording.used.format(retriever=progress.asked.retriever, generator=progress.asked.generator)
    return element("p", escaped(used), class_="note used")


def _tree(progress: Progress, wording: Wording) -> str:
    if progress.walk is not None:
        return tree_html(progress.walk, wording)
    if progress.finished and progress.passages and progress.asked.walk:
        written = any(one.docid_tokens for one in progress.passages)
        note = wording.not_drawn if written else wording.no_tree
        return element("p", escaped(note.format(retriever=progress.asked.retriever)), class_="note")
    return ""
