"""Is a claim supported by its evidence? What every checker answers, and the one that needs no model.

A checker reads statements, each a claim with the text that is to support it, and gives probabilities. A claim may be a bare
answer ("1887"), which says nothing without its question: checkers read the question beside it, where there is one.

Invariants: one Support a statement, in order; an empty claim, or one without evidence, is not supported. Known gap:
`supported` is a calibrated probability for no checker unless its own module says so; compare checkers by how they rank
(AUROC), not at a threshold. What a probability means for the verdict is said once, in `Support.verdict`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from genir.records import Verdict
from genir.words import ENGLISH_STOPWORDS
from rag.sentences import words

THRESHOLD = 0.5  # a verdict other than "unsupported" needs a probability above it: more likely than not
VERDICTS: tuple[Verdict, ...] = ("supported", "unsupported", "contradicted")
# Words that say nothing of what a claim is about: a claim that shares only these with a text does not come from there.
_STOP_WORDS = ENGLISH_STOPWORDS | frozenset("的了是在有和与這这那也不")


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

    def verdict(self, threshold: float = THRESHOLD) -> Verdict:
        """The likelier of "supported" and "contradicted" where it lies above the threshold; of two equal ones "supported"."""
        if max(self.supported, self.contradicted) <= threshold:
            return "unsupported"
        return "supported" if self.supported >= self.contradicted else "contradicted"


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


def verdicts_of(checker: SupportChecker) -> tuple[Verdict, ...]:
    """The verdicts that a checker can give an answer to a question: its `verdicts`; all three where it does not tell.

    What counts contradictions is not defined, rather than 0, for one that never sees any.
    """
    told: tuple[Verdict, ...] = getattr(checker, "verdicts", VERDICTS)
    return told


class LexicalChecker:
    """The share of the claim's telling words that stand in the evidence: no model, and no understanding.

    It sees no contradiction, and cannot tell the right name of a passage from another name of it.
    """

    name = "lexical"
    verdicts: tuple[Verdict, ...] = ("supported", "unsupported")

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """See SupportChecker."""
        return [Support(share_held(statement)) for statement in statements]


def content_words(text: str) -> list[str]:
    """The words of a text, in order, without stop words."""
    return [word for word in words(text) if word not in _STOP_WORDS]


def telling_words(claim: str, question: str) -> list[str]:
    """The words of a claim that say something new: no stop words, and none of the question's.

    "Paris is the capital of France" answers "What is the capital of France?" by one word. Where nothing is left (the question offers
    its answers: "Is it Paris or Rome?"), the content words, and then all words.
    """
    asked = set(words(question))
    content = content_words(claim) or words(claim)
    return [word for word in content if word not in asked] or content


def share_held(statement: Statement) -> float:
    """The share of the claim's telling words that stand in the evidence, 0..1; 0 for a claim without any, or of stop words alone."""
    if not content_words(statement.claim):
        return 0.0
    telling = telling_words(statement.claim, statement.question)
    held = set(words(statement.evidence))
    return sum(word in held for word in telling) / len(telling)
