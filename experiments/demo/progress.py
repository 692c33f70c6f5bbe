"""What is asked, and what is known of the answer at each moment: plain records between the desk, the page and the API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from experiments.demo.walk import Walk
from genir.records import Answer, DocIDTokens, Document
from rag.prompt import Turn

# Why an answer is to be read with care: no passage found; passages that share no word with the question; passages in which the reader
# sees no answer; an answer that was held back because the reader was less sure than asked for.
Caution = Literal["nothing_found", "nothing_relevant", "not_answered", "below_threshold"]


@dataclass(frozen=True)
class Asked:
    """A question, and the switches it was asked with. `threshold`: answers of less confidence (0..1) are held back.

    `retriever` and `generator` are empty where none was named; the desk then chooses by the question, and tells in `Progress.asked`.
    `turns`: what was asked and answered before it, oldest first; `forgotten`: how many turns before these were left out.
    """

    question: str
    retriever: str = ""
    generator: str = ""
    k: int = 5
    threshold: float = 0.0
    closed_book: bool = True
    walk: bool = True
    turns: tuple[Turn, ...] = ()
    forgotten: int = 0


@dataclass(frozen=True)
class Passage:
    """A passage that was read: its rank (from 1), its score in the retriever's unit, and its DocID where the retriever writes one."""

    document: Document
    rank: int
    score: float
    docid_tokens: DocIDTokens = ()
    identifier: str = ""  # the same in words


@dataclass(frozen=True)
class Progress:
    """The state of one question. What is None is not known yet, or was not asked for; `finished` marks the last state.

    `asked` has the names of what was used; `text` is the answer as far as it is written; `held_back` is what the reader would have said,
    where the threshold kept it back; `only_copies`: the reader answers from passages alone, so that there is no `closed_book`; `seconds`
    are those of each stage that is over, in order; `search_query` is what was searched for where the conversation made it differ from the
    question.
    """

    asked: Asked
    passages: tuple[Passage, ...] | None = None
    walk: Walk | None = None
    text: str = ""
    answer: Answer | None = None
    held_back: Answer | None = None
    closed_book: Answer | None = None
    caution: Caution | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    finished: bool = False
    search_query: str = ""
    only_copies: bool = False
