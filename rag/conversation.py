"""A conversation -> one question that can be searched for: what a follow-up leaves unsaid is put back.

Without a model by rules: where one reading is sure, what the follow-up means stands in it (`rag.substitution`); else the words that it
needs stand in brackets behind it (`rag.follow_ups`). With a generator by a prompt that asks for the complete question; the task is
QReCC's (Anantha et al. 2021, arXiv:2010.04898), but nothing is trained for it here.

Invariants: a first question is left as it is, and by rules one that stands by itself is too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from genir.errors import ConfigError
from genir.protocols import Generator, SamplingParams
from rag.attribution import contains
from rag.follow_ups import handed_on
from rag.markers import take_markers
from rag.packing import count_words, cut, one_line
from rag.prompt import DEFAULT_TEMPLATE, PromptTemplate, Turn, fill, is_unknown, turns_text
from rag.sentences import words
from rag.substitution import whole

__all__ = ["Condenser", "GeneratorCondenser", "RuleCondenser", "Turn"]

MOST_ADDED = 24  # words that a question gets from earlier turns
MOST_TOLD = 400  # words of a conversation in a prompt; of a longer one the beginning is left out


class Condenser(Protocol):
    """Anything that makes the last question of a conversation complete in itself."""

    def condense(self, questions: Sequence[str], turns: Sequence[Sequence[Turn]]) -> list[str]:
        """One question each, in order; each with its earlier turns, oldest first, perhaps none."""
        ...


@dataclass(frozen=True, slots=True)
class RuleCondenser:
    """By rules, without a model."""

    def condense(self, questions: Sequence[str], turns: Sequence[Sequence[Turn]]) -> list[str]:
        """See Condenser."""
        return [_complete(question, earlier) for question, earlier in zip(questions, turns, strict=True)]


@dataclass(frozen=True)
class GeneratorCondenser:
    """By a generator and the template's `condense`; the rules take over where it writes nothing, or that it does not know."""

    generator: Generator
    template: PromptTemplate = DEFAULT_TEMPLATE
    params: SamplingParams = field(default_factory=lambda: SamplingParams(max_new_tokens=48, stop=("\n",)))

    def condense(self, questions: Sequence[str], turns: Sequence[Sequence[Turn]]) -> list[str]:
        """See Condenser. Raises ConfigError where the template has no wording for it."""
        condensed = RuleCondenser().condense(questions, turns)
        asked = [row for row, earlier in enumerate(turns) if earlier]
        if asked:
            prompts = [self._prompt(questions[row], turns[row]) for row in asked]
            for row, generation in zip(asked, self.generator.generate(prompts, self.params), strict=True):
                text = one_line(take_markers(generation.text)[0])
                if not is_unknown(text, self.template):
                    condensed[row] = text
        return condensed

    def _prompt(self, question: str, turns: Sequence[Turn]) -> str:
        template, kept = self.template, list(turns)
        if not (template.condense and template.turn):
            raise ConfigError(
                f"prompt template {template.name}: has no `condense` and `turn`, so it cannot reword a question; "
                "add them, or condense by rules"
            )
        while len(kept) > 1 and count_words(turns_text(kept, template)) > MOST_TOLD:
            del kept[0]
        return fill(template.condense, turns=turns_text(kept, template), question=one_line(question))


def _complete(question: str, turns: Sequence[Turn]) -> str:
    """The question made whole where that is sure, else with the words that it lacks in brackets."""
    made = whole(question, turns)
    if made is not None:
        return made
    question, said = one_line(question), words(question)
    missing = dict.fromkeys(phrase for phrase in handed_on(question, turns) if not contains(said, words(phrase)))
    added = cut("; ".join(missing), lambda text: count_words(text) <= MOST_ADDED)
    return f"{question} ({added})" if added else question
