"""Mitigations that are another way to read: the same passages, read again by another reader.

So context-aware decoding (`rag.contrast`) and copying by constraint (`CopyingReader`) are steps like the others. What the first reader
said is not looked at: as the first step, such a step could have taken its place, and its table row need not pay for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from genir.errors import GenirError
from genir.protocols import Retriever
from genir.records import Answer, Document
from rag.copying import CopyConstraint
from rag.generators.hf import HFGenerator
from rag.measures.support import passages_of
from rag.mitigations.cost import Note, asked_for
from rag.mitigations.revision import question_of, rewrite, withdraw
from rag.reading import GeneratorReader, Reader, Reading
from rag.verification import LexicalChecker, SupportChecker


@dataclass(frozen=True)
class Reread:
    """Every question read again by `reader`, closed-book where it was; one that found no passage stays unanswered."""

    reader: Reader
    name: str
    checker: SupportChecker = field(default_factory=LexicalChecker)
    retriever: Retriever | None = None

    def revise(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
        """See Mitigation; an abstention is read again, too."""
        rows = [row for row, answer in enumerate(answers) if answer.passages or answer.retriever == "none"]
        chosen = [answers[row] for row in rows]
        passages = [passages_of(answer, documents) for answer in chosen]
        reader = asked_for(self.reader, chosen)
        readings = reader.read([question_of(answer) for answer in chosen], passages) if rows else []
        revised = [withdraw(answer) for answer in answers]
        again = rewrite(chosen, readings, documents, self.checker, self.retriever)
        for row, answer in zip(rows, again, strict=True):
            revised[row] = replace(answer, generator=self.reader.name)
        return revised


@dataclass(frozen=True)
class CopyingReader:
    """A language model that can only write a run of whole words of its passages (`rag.copying`), token by token.

    For tokenizers that put a space in front of a word's first token. It cannot say that it does not know, so it needs a threshold:
    `min_logprob` of its `reader`, or an abstention behind it. Closed-book it abstains: there is nothing to copy.
    `note` hears of every prompt that the model runs.
    """

    reader: GeneratorReader
    note: Note | None = None

    @property
    def name(self) -> str:
        """The generator's name."""
        return self.reader.name

    def noting(self, note: Note) -> "CopyingReader":
        """See rag.mitigations.cost.NotingReader."""
        return replace(self, note=note)

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question. Raises GenirError where the generator takes no constraint."""
        generator, unknown = self.reader.generator, self.reader.template.unknown
        if not isinstance(generator, HFGenerator):
            raise GenirError(f"generator {self.name!r} takes no copy constraint: use a Hugging Face model (hf)")
        readings = [Reading(unknown, abstained=True) for _ in questions]
        rows = [row for row, found in enumerate(passages) if found]
        prompts = [self.reader.prompt(questions[row], passages[row]) for row in rows]
        tokenizer, _ = generator.load()
        limits = [
            CopyConstraint(_evidence(passages[row][: prompt.passages]), questions[row], tokenizer)
            for row, prompt in zip(rows, prompts, strict=True)
        ]
        done = generator.generate([prompt.text for prompt in prompts], self.reader.params, limits) if rows else []
        for row, prompt, generation in zip(rows, prompts, done, strict=True):
            if self.note:
                self.note(row, generator, prompt.text, generation)
            sure = sum(generation.logprobs) / len(generation.logprobs) if generation.logprobs else 0.0
            text = generation.text.strip()
            if text and sure >= self.reader.min_logprob:
                readings[row] = Reading(text, confidence=sure, shown=prompt.passages)
            else:
                readings[row] = replace(readings[row], confidence=sure)
        return readings


def _evidence(passages: Sequence[Document]) -> str:
    return "\n".join(passage.title_and_text for passage in passages)
