"""A small LLaMA-2-architecture reader: passages and a question in, a short answer or "I do not know" out.

Grounded, a selector first picks the sentence that answers, from all passages together (`rag.small_reader.evidence`), and the reader
abstains where none is likely to; the language model then copies the answer from that sentence and its title
(`rag.copying`). So every answer has its source, and every retriever is read under the same rule. Closed-book, the same
language model writes freely what it learnt by heart, which in minutes is next to nothing.

It is a model for showing the mechanism of grounding on one kind of text, trained in minutes; it is no general reader.
For that, give `GeneratorReader` any Hugging Face model.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from genir.devices import pick_device
from genir.manifest import write_json
from genir.protocols import SamplingParams
from genir.records import Document
from rag.copying import CopyConstraint
from rag.generators.hf import HFGenerator, load_causal_lm
from rag.prompt import UNKNOWN, PromptTemplate, build_prompt
from rag.reader_settings import read_reader_settings
from rag.reading import Reading
from rag.small_reader.data import told
from rag.small_reader.evidence import Evidence, SentenceSelector

READER_TEMPLATE = PromptTemplate(
    grounded="{passages}\n{question}\n", closed_book="{question}\n", passage="{text}", unknown=UNKNOWN
)
SETTINGS_FILE = "reader.json"


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """What travels with the weights: lengths in tokens, and the least probability of evidence that is read."""

    max_prompt_tokens: int = 448
    max_new_tokens: int = 24
    # Chosen on atlas' dev questions: 95 % are answered, 98 % of these from a sentence that answers.
    min_evidence: float = 0.3
    template: PromptTemplate = READER_TEMPLATE


class SmallReader:
    """A trained reader. `rag.small_reader.training.train_reader` makes one; `save` and `load` keep it as a Hugging Face folder."""

    name = "reader"
    answers_from_memory = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        selector: SentenceSelector,
        settings: ReaderSettings | None = None,
        batch_size: int = 64,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.selector = selector
        self.settings = settings or ReaderSettings()
        self.generator = HFGenerator.of(model, tokenizer, label=self.name, batch_size=batch_size)

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question; closed-book where it has no passages. A grounded one cites the sentence it copied from."""
        readings = [Reading(self.settings.template.unknown, abstained=True) for _ in questions]
        prompts, limits, rows = [], [], []
        for row, (question, found) in enumerate(zip(questions, passages, strict=True)):
            evidence = self.selector.best(question, found) if found else None
            if found and (evidence is None or evidence.probability < self.settings.min_evidence):
                continue
            source = "" if evidence is None else _source(found[evidence.passage], evidence)
            prompts.append(self._prompt(question, source))
            limits.append(CopyConstraint(source, question, self.tokenizer) if source else None)
            rows.append((row, evidence))
        params = SamplingParams(max_new_tokens=self.settings.max_new_tokens)
        generations = self.generator.generate(prompts, params, limits) if prompts else []
        for (row, evidence), generation in zip(rows, generations, strict=True):
            confidence = sum(generation.logprobs) / len(generation.logprobs)
            text = generation.text.strip()
            if not text:
                readings[row] = replace(readings[row], confidence=confidence)
            elif evidence is None:
                readings[row] = Reading(text, confidence=confidence)
            else:
                readings[row] = Reading(
                    text, confidence=confidence, passage=evidence.passage, span=(evidence.start, evidence.end)
                )
        return readings

    def _prompt(self, question: str, source: str) -> str:
        found = [Document("", source)] if source else []
        return build_prompt(question, found, self.settings.template, self.settings.max_prompt_tokens, self._count)

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text)["input_ids"])

    def save(self, folder: Path) -> None:
        """config.json, model.safetensors, tokenizer.json, the selector and reader.json; any causal-LM loader reads the first three."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.selector.save(folder)
        write_json(folder / SETTINGS_FILE, asdict(self.settings))

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "SmallReader":
        """The reader of a folder. Raises ArtefactError where it is missing or not a reader's."""
        settings = read_reader_settings(folder / SETTINGS_FILE, ReaderSettings, "genir demo")
        tokenizer, model = load_causal_lm(str(folder))
        return cls(model.to(pick_device(device)), tokenizer, SentenceSelector.load(folder), settings)


def _source(passage: Document, evidence: Evidence) -> str:
    return told(passage.title, passage.text[evidence.start : evidence.end])
