"""A small LLaMA-2-architecture reader: one passage and a question in, a short answer or "I do not know" out.

It reads every passage alone, so that one prompt is short and every retriever is read under the same rule: of the
passages that it finds an answer in, the surest reading counts (mean log-probability of the answer's tokens), and
when there is none it abstains. With no passage it answers closed-book, from its parameters, by the same code and
threshold.

It is a model for showing the mechanism of grounding on one kind of text, trained in minutes; it is no general
reader. For that, give `GeneratorReader` any Hugging Face model.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genir.config import from_mapping
from genir.errors import ArtefactError, GenirError
from genir.manifest import write_json
from genir.protocols import SamplingParams
from genir.records import Document
from rag.generators.hf import HFGenerator, load_causal_lm
from rag.prompt import UNKNOWN, PromptTemplate, build_prompt, is_unknown
from rag.reading import Reading

READER_TEMPLATE = PromptTemplate(
    grounded="{passages}\n{question}\n", closed_book="{question}\n", passage="{text}", unknown=UNKNOWN
)
SETTINGS_FILE = "reader.json"


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """What travels with the weights: the longest prompt (tokens), the longest answer, and the threshold for abstaining."""

    max_prompt_tokens: int = 448
    max_new_tokens: int = 24
    min_logprob: float = -1e9
    template: PromptTemplate = READER_TEMPLATE


class SmallReader:
    """A trained reader. `rag.reader_training.train_reader` makes one; `save` and `load` keep it as a Hugging Face folder."""

    name = "reader"

    def __init__(
        self, model: Any, tokenizer: Any, settings: ReaderSettings | None = None, batch_size: int = 64
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings or ReaderSettings()
        self.generator = HFGenerator.of(model, tokenizer, label=self.name, batch_size=batch_size)

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """The surest reading of every question; each of its passages is a prompt of its own, none gives a closed-book prompt."""
        prompts, owners = [], []
        for row, (question, found) in enumerate(zip(questions, passages, strict=True)):
            for index, passage in enumerate(found or [None]):
                prompts.append(self._prompt(question, passage))
                owners.append((row, index if found else None))
        params = SamplingParams(max_new_tokens=self.settings.max_new_tokens)
        best: list[Reading | None] = [None] * len(questions)
        for (row, passage_index), generation in zip(owners, self.generator.generate(prompts, params), strict=True):
            confidence = sum(generation.logprobs) / len(generation.logprobs)
            text = generation.text.strip()
            unsure = is_unknown(text, self.settings.template) or confidence < self.settings.min_logprob
            reading = (
                Reading(self.settings.template.unknown, abstained=True, confidence=confidence)
                if unsure
                else Reading(text, confidence=confidence, passage=passage_index)
            )
            best[row] = _surer(best[row], reading)
        return [reading for reading in best if reading is not None]

    def _prompt(self, question: str, passage: Document | None) -> str:
        budget = self.settings.max_prompt_tokens
        return build_prompt(question, [passage] if passage else [], self.settings.template, budget, self._count)

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text)["input_ids"])

    def save(self, folder: Path) -> None:
        """config.json, model.safetensors, tokenizer.json and reader.json; any causal-LM loader reads the first three."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_json(folder / SETTINGS_FILE, asdict(self.settings))

    @classmethod
    def load(cls, folder: Path) -> "SmallReader":
        """The reader of a folder. Raises ArtefactError where it is missing or not a reader's."""
        try:
            values = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            settings = from_mapping(ReaderSettings, values, str(folder / SETTINGS_FILE))
        except FileNotFoundError:
            raise ArtefactError(
                f"{folder}: no {SETTINGS_FILE} there: expected a folder that a reader was saved to"
            ) from None
        except (json.JSONDecodeError, GenirError) as error:
            raise ArtefactError(
                f"{folder / SETTINGS_FILE}: not a reader's settings: {error}; train the reader again"
            ) from None
        tokenizer, model = load_causal_lm(str(folder))
        return cls(model, tokenizer, settings)


def _surer(old: Reading | None, new: Reading) -> Reading:
    """An answer rather than an abstention, then the higher confidence; the earlier passage wins a tie."""
    if old is None or (old.abstained and not new.abstained):
        return new
    if new.abstained and not old.abstained:
        return old
    return new if new.confidence > old.confidence else old
