"""The best sentence: a generator with no model, always available, whose every answer is a quotation.

It scores each sentence of the passages by how much of the question it covers, each word weighted by its rarity among
the sentences at hand, times a weight that falls with the passage's rank, and quotes the best one, or abstains below
a threshold of support. What it returns is literally in the passage, with exact offsets. Known gap: it quotes a whole
sentence, so exact match against short answers stays low.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genir.protocols import Generation, SamplingParams
from genir.records import Document
from rag.prompt import DEFAULT_TEMPLATE, PromptTemplate, parse_prompt
from rag.reading import Reading
from rag.sentences import split_sentences, words

# Words that say how something is asked, not what about: they carry no evidence.
_FUNCTION_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "did",
        "do",
        "does",
        "for",
        "from",
        "has",
        "have",
        "how",
        "in",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "that",
        "the",
        "their",
        "this",
        "to",
        "was",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whom",
        "whose",
        "why",
        "with",
        "name",
        "的",
        "了",
        "是",
        "在",
        "有",
        "和",
        "与",
        "什",
        "么",
        "谁",
        "哪",
        "吗",
        "呢",
        "个",
        "何",
        "为",
    ]
)


@dataclass(frozen=True, slots=True)
class ExtractiveGenerator:
    """Quotes the sentence that matches the question best.

    `min_support`: least share (0..1, weighted by rarity) of the question's words that sentence and title must hold; below it the generator
    abstains. `rank_decay`: the weight of rank r is 1 / (1 + rank_decay * r), r from 0. Needs passages: closed-book it always abstains.
    """

    min_support: float = 0.4
    rank_decay: float = 0.1
    template: PromptTemplate = DEFAULT_TEMPLATE
    name: str = "extractive"

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """The best sentence for every question among its passages (best first)."""
        return [self._read(question, found) for question, found in zip(questions, passages, strict=True)]

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        """The same from prompts of this generator's template; `params` has nothing to steer, but its stop strings cut the text."""
        generations = []
        for prompt in prompts:
            question, texts = parse_prompt(prompt, self.template)
            text = self._read(question, [Document(str(i), text) for i, text in enumerate(texts)]).text
            cut = min((at for at in (text.find(stop) for stop in params.stop if stop) if at >= 0), default=len(text))
            generations.append(Generation(text[:cut]))
        return generations

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        """The text of `generate`, word by word."""
        text = self.generate([prompt], params)[0].text
        start = 0
        while start < len(text):
            gap = text.find(" ", start + 1)
            end = gap if gap >= 0 else len(text)
            yield text[start:end]
            start = end

    def _read(self, question: str, passages: Sequence[Document]) -> Reading:
        asked = set(words(question)) - _FUNCTION_WORDS or set(words(question))
        sentences = [
            (rank, start, end, set(words(passage.text[start:end])), set(words(passage.title)))
            for rank, passage in enumerate(passages)
            for start, end in split_sentences(passage.text)
        ]
        frequency = Counter(word for *_, held, _ in sentences for word in held)
        weight = {word: math.log(1 + (len(sentences) + 1) / (frequency[word] + 0.5)) for word in asked}
        total = math.fsum(weight.values())  # exact: sets have no order, and equal shares must be equal
        best, best_key, support = None, (0.0, 0.0), 0.0
        for rank, start, end, held, title in sentences:
            covered = math.fsum(weight[word] for word in asked & held)
            share = math.fsum(weight[word] for word in asked & (held | title)) / total if total else 0.0
            key = (
                share / (1 + self.rank_decay * rank),
                covered,
            )  # of two equal ones, the sentence rather than its title
            if key > best_key:
                best, best_key, support = (rank, start, end), key, share
        if best is None or support < self.min_support:
            return Reading(self.template.unknown, abstained=True, confidence=support)
        rank, start, end = best
        return Reading(passages[rank].text[start:end], confidence=support, passage=rank, span=(start, end))
