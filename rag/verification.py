"""Is a claim supported by its evidence? What every checker answers, and the one that needs no model.

A checker reads statements, each a claim with the text that is to support it, and gives probabilities. A claim may be a bare
answer ("1887"), which says nothing without its question: checkers read the question beside it, where there is one.

Invariants: one Support a statement, in order; an empty claim, or one without evidence, is not supported. Known gap:
`supported` is a calibrated probability for no checker unless its own module says so; compare checkers by how they rank
(AUROC), not at a threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from genir.words import ENGLISH_STOPWORDS
from rag.sentences import words


@dataclass(frozen=True, slots=True)
class Statement:
    """What is checked: a claim (a sentence, or a short answer to `question`) against the text of its evidence."""

    claim: str
    evidence: str
    question: str = ""


@dataclass(frozen=True, slots=True)
class Support:
    """What a checker says of one statement: two probabilities in 0..1, of which the rest says "the evidence does not tell"."""

    supported: float
    contradicted: float = 0.0


NO_SUPPORT = Support(0.0)


@runtime_checkable
class SupportChecker(Protocol):
    """Anything that says whether evidence supports claims."""

    @property
    def name(self) -> str:
        """What tables and answers call it."""
        ...

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """One Support a statement, in order."""
        ...


class LexicalChecker:
    """The share of the claim's telling words that stand in the evidence: no model, and no understanding.

    It sees no contradiction, and cannot tell the right name of a passage from another name of it.
    """

    name = "lexical"

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """See SupportChecker."""
        return [Support(share_held(statement)) for statement in statements]


def telling_words(claim: str, question: str) -> list[str]:
    """The words of a claim that say something new: no stop words, and none of the question's.

    "Paris is the capital of France" answers "What is the capital of France?" by one word. Where nothing is left (the question offers
    its answers: "Is it Paris or Rome?"), the content words, and then all words.
    """
    said, asked = words(claim), set(words(question))
    content = [word for word in said if word not in ENGLISH_STOPWORDS] or said
    return [word for word in content if word not in asked] or content


def share_held(statement: Statement) -> float:
    """The share of the claim's telling words that stand in the evidence, 0..1; 0 for a claim without words."""
    telling = telling_words(statement.claim, statement.question)
    held = set(words(statement.evidence))
    return sum(word in held for word in telling) / len(telling) if telling else 0.0
