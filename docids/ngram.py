"""N-gram identifiers: every n-gram of a document, found through an FM-index, names it (SEAL, arXiv 2204.10628).

Nothing is assigned: a document's identifiers are the pieces of its own text (Bevilacqua et al. 2022), so a document has
many, and most short ones name many documents. Its longest one is the document itself, whole, and that is what a table
of one identifier a document can hold. `NgramTable` is such a `DocIDTable` and the index over it.

Policies. The title stands in front of the text with the tokenizer's end-of-sequence token (or separator) behind it, so
that a title as an identifier differs from its mention in a text; special tokens that a text spells out are cut into
pieces, so no text holds that token. Where there is neither title nor text, the doc_id stands in for them.

Invariants: document numbers of the index are places in the corpus; identifiers are text tokens of the tokenizer named
in the table. Known gaps: a tokenizer that marks words by the space in front of them writes the first word of a title
and of a text unlike the same word elsewhere; a tokenizer without end token and separator leaves titles unmarked.

On disk: the files of a DocIDTable, whole documents as their identifiers, and `ngrams.safetensors`, the FM-index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from docids.table import DocIDTable, doc_ids_of
from docids.text_tokens import load_tokenizer
from genir.constraints.fm_index import FMIndex
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ArtefactError, ConfigError, DataError
from genir.records import DocIDTokens, Document

NGRAMS = "ngrams.safetensors"
NAME = "ngram"


@dataclass(frozen=True, eq=False)
class NgramTable:
    """Documents and their n-grams, both ways (a `genir.protocols.DocIDMap`): `documents` are whole, `index` is over them."""

    documents: DocIDTable
    index: FMIndex

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def scheme(self) -> str:
        """The scheme's name."""
        return self.documents.scheme

    @property
    def tokens(self) -> Mapping[str, DocIDTokens]:
        """{doc_id: the whole document}, in corpus order."""
        return self.documents.tokens

    @cached_property
    def doc_ids(self) -> list[str]:
        """The doc_ids, by document number of the index."""
        return list(self.documents.tokens)

    def tokens_of(self, doc_id: str) -> DocIDTokens:
        """The longest n-gram of a document: all of it. Raises ArtefactError for a document of another corpus."""
        return self.documents.tokens_of(doc_id)

    def documents_of(self, tokens: DocIDTokens) -> tuple[str, ...]:
        """The documents that hold an n-gram, in corpus order; empty where none does."""
        if not tokens:
            return ()
        _, numbers = self.index.documents(torch.tensor([self.index.find(tokens)]))
        return tuple(self.doc_ids[number] for number in numbers.tolist())

    def title_of(self, doc_id: str) -> DocIDTokens:
        """The n-gram of a document's title, its end mark included; empty where it has none, or the corpus no mark."""
        tokens, mark = self.tokens_of(doc_id), self.documents.facts["title_mark"]
        return tokens[: tokens.index(mark) + 1] if mark in tokens else ()

    def save(self, folder: Path) -> None:
        """Write the table's files into `folder`, each atomically, `scheme.json` last."""
        self.index.save(folder / NGRAMS)
        self.documents.save(folder)

    @classmethod
    def load(cls, folder: Path) -> "NgramTable":
        """The table that `save` wrote. Raises ArtefactError for anything missing, broken, or of another scheme."""
        return cls.over(DocIDTable.load(folder), folder)

    @classmethod
    def over(cls, documents: DocIDTable, folder: Path) -> "NgramTable":
        """`load` where the table of the documents is read already. Raises ArtefactError where the index is another's."""
        if documents.scheme != NAME:
            raise ArtefactError(f"{folder}: holds {documents.scheme} identifiers, expected those of scheme {NAME}")
        index = FMIndex.load(folder / NGRAMS)
        tokens = sum(map(len, documents.tokens.values()))
        if (index.next_document, index.num_tokens) != (len(documents), tokens):
            raise ArtefactError(
                f"{folder / NGRAMS}: an index of {index.next_document} documents and {index.num_tokens} tokens, but the table has "
                f"{len(documents)} and {tokens}; make it again with `genir docids build`"
            )
        return cls(documents, index)


@dataclass
class NgramScheme:
    """`tokenizer` is a Hugging Face name or folder, and must be that of the model that will write the n-grams.

    `longest` is only how far the diagnostics count: the index knows n-grams of every length.
    """

    tokenizer: str = DEFAULT_ENCODER
    longest: int = 10
    titles: bool = True
    name: str = field(default=NAME, init=False)

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ConfigError(f"n-gram identifiers have one token or more: expected longest >= 1, got {self.longest}")

    def assign(self, corpus: Sequence[Document]) -> NgramTable:
        """The n-grams of the whole corpus.

        Raises DataError for a bad corpus, ArtefactError where there is no such tokenizer.
        """
        doc_ids = doc_ids_of(corpus)
        tokenizer = load_tokenizer(self.tokenizer)
        mark = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        titles = _encode(tokenizer, [document.title.strip() if self.titles else "" for document in corpus])
        texts = _encode(tokenizer, [document.text for document in corpus])
        stand_ins = _encode(tokenizer, doc_ids)
        tokens: dict[str, DocIDTokens] = {}
        for doc_id, title, text, stand_in in zip(doc_ids, titles, texts, stand_ins, strict=True):
            marked = (*title, mark) if title and mark is not None else title
            tokens[doc_id] = (*marked, *text) or stand_in
            if not tokens[doc_id]:
                raise DataError(
                    f"document {doc_id!r} has neither title, text nor doc_id that tokenizer {self.tokenizer!r} reads"
                )
        documents = DocIDTable(
            self.name,
            tokens,
            vocab_size=len(tokenizer),
            tokenizer=self.tokenizer,
            settings={"longest": self.longest, "titles": self.titles},
            facts={
                "titles": sum(map(bool, titles)),
                "title_mark": mark,
                "without_text": sum(not text for text in texts),
            },
        )
        return NgramTable(documents, FMIndex.build(list(tokens.values())))


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[DocIDTokens]:
    """Token ids of each text, without special tokens, also where a text spells one out."""
    rows = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return [tuple(row) for row in rows]
