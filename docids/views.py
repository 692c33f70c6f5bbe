"""Several identifiers a document: residual codes of its views (all of it, its title, passages, sentences, questions it answers).

MINDER (Li et al. 2023, arXiv:2305.16675) lets a model write any of a document's views, and adds what it gives them, or takes the best,
as MaxP takes the best of a document's passages (Dai & Callan 2019, arXiv:1905.09217; `retrievers.views`). All views are quantised
together, so that one code space, one set of codebooks and one prefix tree serve them all. With `document_levels` an identifier begins with
codes of the document, which all of its views share, and goes on with the view's own: first the document is written, then the sentence
in it. Views of one document then err alike, and tell documents apart as well as more codes without it would.
`ViewsTable` is a `DocIDTable` with each document's first view, and the others beside it.

Invariants: every document has at least one view, and none twice; views of equal text share an identifier, within a document, and without
`document_levels` across documents, too (a title that two have names both). A view stands where `views` of the scheme names its kind.
Known gaps: a long document has more passages and sentences, hence more ways to be found, and sentences behind the first `sentences`
none; where documents fall together and their views fill what lies under their codes, `docids.distinct` changes codes of the document.

On disk: the files of a DocIDTable, first views as the identifiers, and `views.jsonl`, one
{"doc_id", "views": [{"kind", "docid_tokens"}]} a line.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from docids.distinct import check_room
from docids.residual import Quantisation, ResidualScheme, quantise_within, residual_quantise
from docids.table import DocIDTable, doc_ids_of, level_tokens
from docids.vectors import checked_vectors
from genir.embedding import TextEncoder
from genir.errors import ArtefactError, ConfigError, unknown_name
from genir.manifest import write_atomically
from genir.pseudo_queries import PseudoQueryConfig, make_pseudo_queries
from genir.records import DocIDTokens, Document
from genir.words import sentences

VIEWS = "views.jsonl"
NAME = "views"
Kind = Literal["document", "title", "passage", "sentence", "query"]
Combined = Literal["sum", "max"]
_MAKE = "make it again with `genir docids build`"


@dataclass(frozen=True, slots=True)
class View:
    """One identifier of a document, and what of the document it was made of."""

    kind: str
    tokens: DocIDTokens


@dataclass(frozen=True, eq=False)
class ViewsTable:
    """Documents and their views, both ways (a `genir.protocols.DocIDMap`); `documents` holds the first view of each."""

    documents: DocIDTable
    views: Mapping[str, tuple[View, ...]]

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def scheme(self) -> str:
        """The scheme's name."""
        return self.documents.scheme

    @property
    def tokens(self) -> Mapping[str, DocIDTokens]:
        """{doc_id: its first view}, in corpus order."""
        return self.documents.tokens

    @property
    def combined(self) -> Combined:
        """How the scores of a document's views make its own, unless a search is told otherwise."""
        return "max" if self.documents.settings.get("combine") == "max" else "sum"

    @cached_property
    def _holders(self) -> Mapping[DocIDTokens, tuple[str, ...]]:
        holders: dict[DocIDTokens, list[str]] = {}
        for doc_id, views in self.views.items():
            for view in views:
                holders.setdefault(view.tokens, []).append(doc_id)
        return {tokens: tuple(doc_ids) for tokens, doc_ids in holders.items()}

    def tokens_of(self, doc_id: str) -> DocIDTokens:
        """The first view of a document. Raises ArtefactError for a document of another corpus."""
        return self.documents.tokens_of(doc_id)

    def documents_of(self, tokens: DocIDTokens) -> tuple[str, ...]:
        """The documents that have a view of this identifier, in corpus order; empty where none has."""
        return self._holders.get(tuple(tokens), ())

    def identifiers(self) -> list[DocIDTokens]:
        """The distinct identifiers of all views, sorted."""
        return sorted(self._holders)

    def numbered(self) -> DocIDTable:
        """A table in which every document is named by its number: what training examples are made for, before views are."""
        return DocIDTable(self.scheme, {doc_id: (i,) for i, doc_id in enumerate(self.tokens)}, len(self))

    def save(self, folder: Path) -> None:
        """Write the table's files into `folder`, each atomically, `scheme.json` last."""
        write_atomically(folder / VIEWS, self._write)
        self.documents.save(folder)

    def _write(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as stream:
            for doc_id, views in self.views.items():
                rows = [{"kind": view.kind, "docid_tokens": view.tokens} for view in views]
                stream.write(json.dumps({"doc_id": doc_id, "views": rows}, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "ViewsTable":
        """The table that `save` wrote. Raises ArtefactError for anything missing, broken, or of another scheme."""
        return cls.over(DocIDTable.load(folder), folder)

    @classmethod
    def over(cls, documents: DocIDTable, folder: Path) -> "ViewsTable":
        """`load` where the table of first views is read already. Raises ArtefactError where the others do not fit it."""
        path = folder / VIEWS
        if documents.scheme != NAME:
            raise ArtefactError(f"{folder}: holds {documents.scheme} identifiers, expected those of scheme {NAME}")
        if not path.is_file():
            raise ArtefactError(f"{path}: no such file; {_MAKE}")
        views: dict[str, tuple[View, ...]] = {}
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)
                found = tuple(View(str(one["kind"]), tuple(one["docid_tokens"])) for one in row["views"])
                fits = documents.tokens.get(row["doc_id"]) == found[0].tokens
            except (ValueError, KeyError, TypeError, IndexError):
                raise ArtefactError(
                    f'{path}:{number}: expected {{"doc_id", "views": [{{"kind", "docid_tokens"}}]}}, got {line[:80]!r}; {_MAKE}'
                ) from None
            within = all(
                type(token) is int and 0 <= token < documents.vocab_size for view in found for token in view.tokens
            )
            if not fits or not within or not all(view.tokens for view in found) or row["doc_id"] in views:
                raise ArtefactError(
                    f"{path}:{number}: views of document {row['doc_id']!r} that do not fit the table; {_MAKE}"
                )
            views[row["doc_id"]] = found
        if views.keys() != documents.tokens.keys():
            raise ArtefactError(f"{path}: views of {len(views)} documents, the table has {len(documents)}; {_MAKE}")
        return cls(documents, views)


@dataclass
class ViewsScheme:
    """Residual codes (`docids.residual`) of every view of `views`, quantised together.

    "document" is title and text, "passage" stands for `passages` windows of `passage_words` words, "sentence" for the first `sentences`
    sentences, each behind the title, "query" for `queries` model-free pseudo-queries. A document that has none of them gets "document".
    Of `levels` codes the first `document_levels` are the document's. `combine` is what a search does with the scores of a document's
    views, unless told otherwise.
    """

    views: tuple[str, ...] = ("document", "title", "passage")
    passages: int = 3
    passage_words: int = 48
    sentences: int = 12
    queries: int = 2
    combine: Combined = "sum"
    levels: int = 8
    document_levels: int = 0
    codes: int = 256
    seed: int = 0
    encoder: TextEncoder = field(default_factory=TextEncoder)
    name: str = field(default=NAME, init=False)

    def __post_init__(self) -> None:
        check_room(1, self.levels, self.codes)
        for kind in self.views:
            if kind not in get_args(Kind):
                raise unknown_name("view", kind, get_args(Kind))
        if not self.views or len(set(self.views)) < len(self.views):
            raise ConfigError(f"views is {self.views}: expected one kind or more, each once")
        counts = {name: getattr(self, name) for name in ("passages", "passage_words", "sentences", "queries")}
        if min(counts.values()) < 1:
            raise ConfigError(
                ", ".join(f"{name} is {n}" for name, n in counts.items()) + ": expected at least 1 of each"
            )
        if not 0 <= self.document_levels < self.levels:
            raise ConfigError(
                f"document_levels is {self.document_levels}: expected 0, or fewer than the {self.levels} levels, which views need, too"
            )

    def assign(self, corpus: Sequence[Document]) -> ViewsTable:
        """The views of a corpus. Raises DataError for a bad corpus, ConfigError for too few codes."""
        doc_ids, texts = doc_ids_of(corpus), self.texts(corpus)
        numbers = {doc_id: number if self.document_levels else 0 for number, doc_id in enumerate(doc_ids)}
        rows = list(dict.fromkeys((numbers[doc_id], text) for doc_id in doc_ids for _, text in texts[doc_id]))
        inner = ResidualScheme(self.levels, self.codes, self.seed, encoder=self.encoder)
        check_room(len(rows), self.levels, self.codes)
        if self.document_levels:  # as many at least stand under one beginning
            check_room(max(map(len, texts.values())), self.levels - self.document_levels, self.codes)
        vectors = self._vectors([text for _, text in rows])
        quantised, facts = inner.fit(vectors, self._greedy(vectors, np.array([number for number, _ in rows]), inner))
        tokens_of = {row: level_tokens(codes, self.codes) for row, codes in zip(rows, quantised.codes, strict=True)}
        views = {
            doc_id: tuple(View(kind, tokens_of[numbers[doc_id], text]) for kind, text in texts[doc_id])
            for doc_id in doc_ids
        }
        kinds = Counter(view.kind for own in views.values() for view in own)
        documents = DocIDTable(
            self.name,
            {doc_id: own[0].tokens for doc_id, own in views.items()},
            vocab_size=self.levels * self.codes,
            codebooks=quantised.codebooks,
            settings=self._settings(inner.settings()),
            codes_per_level=self.codes,
            facts={**facts, "views": dict(kinds), "view_identifiers": len(rows)},
        )
        return ViewsTable(documents, views)

    def texts(self, corpus: Sequence[Document]) -> dict[str, list[tuple[str, str]]]:
        """{doc_id: (kind, text) of its views}, no text of a document twice."""
        asked: dict[str, list[str]] = {document.doc_id: [] for document in corpus}
        if "query" in self.views:
            for one in make_pseudo_queries(corpus, PseudoQueryConfig(per_document=self.queries, seed=self.seed)):
                asked[one.doc_id].append(one.text)
        return {document.doc_id: self._texts(document, asked[document.doc_id]) for document in corpus}

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Shape (texts, D); equal texts are embedded once."""
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        vectors = self.encoder.encode(list(distinct), progress="embedding views")
        return checked_vectors(vectors)[[distinct[text] for text in texts]]

    def _greedy(self, vectors: np.ndarray, owners: np.ndarray, inner: ResidualScheme) -> Quantisation:
        if not self.document_levels:
            return residual_quantise(vectors, self.levels, self.codes, self.seed, inner.iterations)
        return quantise_within(
            vectors, owners, self.document_levels, self.levels, self.codes, self.seed, inner.iterations
        )

    def _texts(self, document: Document, queries: Sequence[str]) -> list[tuple[str, str]]:
        """(kind, text) of a document's views, no text twice."""
        found: dict[str, str] = {}
        for kind in self.views:
            for text in self._of_kind(kind, document, queries):
                found.setdefault(text, kind)
        return [(kind, text) for text, kind in found.items()] or [("document", document.title_and_text)]

    def _of_kind(self, kind: str, document: Document, queries: Sequence[str]) -> Iterator[str]:
        if kind == "document":
            yield document.title_and_text
        elif kind == "title" and document.title.strip():
            yield document.title.strip()
        elif kind == "query":
            yield from queries
        elif kind == "passage":
            words = document.text.split()
            for start in range(0, len(words), self.passage_words)[: self.passages]:
                yield " ".join(words[start : start + self.passage_words])
        elif kind == "sentence":
            for sentence in sentences(document.text)[: self.sentences]:
                yield Document(document.doc_id, sentence, document.title).title_and_text

    def _settings(self, inner: Mapping[str, Any]) -> dict[str, Any]:
        own = ("views", "passages", "passage_words", "sentences", "queries", "combine", "document_levels")
        return {**inner, **{name: getattr(self, name) for name in own}, "views": list(self.views)}
