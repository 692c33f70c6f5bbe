"""A library for the page's tests: a handful of documents (one full of markup), a model without weights, readers that stream."""

import time
from collections.abc import Iterator, Sequence

from docids.table import DocIDTable
from experiments.demo.examples import Example
from experiments.demo.library import Holdings, Library
from genir.protocols import Generation, SamplingParams
from genir.records import Dataset, Document
from rag.reading import GeneratorReader
from rag.sentences import split_sentences
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from tests.hash_identifier_model import HashIdentifierModel

MARKUP = (
    'Danger is the capital of Markup. <script>window.stolen = 1</script> <img src=x onerror="window.stolen = 2"> '
    "${window.stolen = 3} {{value}} <b>bold</b> &amp; `tick`"
)
DOCUMENTS = (
    Document("lima", "Lima is the capital of Peru. It lies on the Pacific coast.", "Lima"),
    Document("oslo", "Oslo is the capital of Norway. It lies at the head of a fjord.", "Oslo"),
    Document("nile", "The Nile flows north through Egypt into the Mediterranean Sea.", "Nile"),
    Document("markup", MARKUP, '<i>Markup</i> "quoted"'),
    Document("zh/东京", "东京是日本的首都。1868年，江户改名为东京。", "东京"),
)
UNINDEXED = Document("zh/利马", "利马是秘鲁的首都。它位于太平洋沿岸。", "利马")  # without an identifier
IDENTIFIERS = ((0, 4), (0, 5), (1, 4), (1, 6, 8), (2, 7))
EXAMPLES = (
    Example("What is the capital of Peru?", ("a plain fact", "简单事实")),
    Example("日本的首都是哪里？", ("in Chinese", "中文")),
)


class WordByWord:
    """A generator that quotes the first sentence of the first passage, a word at a time, `delay` seconds each."""

    name = "wordy"

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        return [Generation("".join(self._words(prompt)), logprobs=(-0.1,)) for prompt in prompts]

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        for word in self._words(prompt):
            time.sleep(self.delay)
            yield word

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        yield from self.stream(prompt, params)
        yield from self.generate([prompt], params)

    def _words(self, prompt: str) -> list[str]:
        """The first passage's first sentence; from memory, something that no passage says."""
        sentences = [document.text[slice(*split_sentences(document.text)[0])] for document in DOCUMENTS]
        there = sorted((prompt.index(one), one) for one in sentences if one in prompt)
        said = there[0][1] if there else "Atlantis is the capital."
        return [f" {word}" for word in said.split(" ")]


def generative_retriever() -> GenerativeRetriever:
    """Identifiers of two and three tokens, scored by a hash; two beams."""
    tokens = {document.doc_id: identifier for document, identifier in zip(DOCUMENTS, IDENTIFIERS, strict=True)}
    table = DocIDTable("made up", tokens, vocab_size=9)
    return GenerativeRetriever(HashIdentifierModel(vocab_size=9), table, GenerativeSettings(num_beams=2))


def small_library(delay: float = 0.0) -> Library:
    """The first retriever writes identifiers and the first reader streams; questions in Chinese are for BM25 and the reader that quotes."""
    holdings = Holdings(
        Dataset("small", (*DOCUMENTS, UNINDEXED), {}),
        examples=EXAMPLES,
        hint="Nothing is missing.",
        retriever_in={"zh": "bm25"},
        reader_in={"zh": "extractive"},
    )
    return Library(holdings, {"generative": generative_retriever()}, {"wordy": GeneratorReader(WordByWord(delay))})
