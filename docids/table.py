"""The table between doc_ids and identifiers, in memory and as a folder.

Invariants: every document of the corpus has exactly one identifier, of one token or more, each in 0..vocab_size-1.
Several documents under one identifier are legal and explicit. The order of the documents is the corpus's.

On disk: `docids.jsonl`, one {"doc_id", "docid_tokens"} a line; `scheme.json`; `codebooks.safetensors` and
`vocabulary.json` (a list) where the scheme has them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from genir.errors import ArtefactError, DataError
from genir.manifest import write_atomically, write_json
from genir.records import DocIDTokens, Document

DOCIDS, SCHEME, CODEBOOKS, VOCABULARY = "docids.jsonl", "scheme.json", "codebooks.safetensors", "vocabulary.json"
FILES = (DOCIDS, SCHEME, CODEBOOKS, VOCABULARY)
_MAKE = "make it again with `genir docids build`"


def doc_ids_of(corpus: Sequence[Document]) -> list[str]:
    """The corpus's doc_ids, in order. Raises DataError for an empty corpus and for two documents with one id."""
    if not corpus:
        raise DataError("the corpus is empty: identifiers need at least one document")
    seen: set[str] = set()
    for document in corpus:
        if document.doc_id in seen:
            raise DataError(f"two documents have the doc_id {document.doc_id!r}; a doc_id must name one document")
        seen.add(document.doc_id)
    return [document.doc_id for document in corpus]


def level_tokens(codes: Iterable[int], codes_per_level: int) -> DocIDTokens:
    """Codes 0..C-1, one a level, as tokens that no two levels share: token = level * C + code."""
    return tuple(level * codes_per_level + int(code) for level, code in enumerate(codes))


@dataclass(frozen=True, eq=False)
class DocIDTable:
    """Both directions between doc_ids and identifiers (a `genir.protocols.DocIDMap`), with what made them.

    `codebooks` (L, C, D) float32 is there where an identifier is a sum of vectors: document ~ sum over l of
    codebooks[l, code_l]. `tokenizer` names the text tokenizer whose ids the tokens are, where they are.
    `codes_per_level` is C where the levels have token ranges of their own (token = level * C + code) and None where
    all positions share the vocabulary. `settings` is what was asked of the scheme, `facts` what came of it; both
    plain JSON values. `vocabulary` says what every token stands for, where a scheme has words of its own.
    """

    scheme: str
    tokens: Mapping[str, DocIDTokens]
    vocab_size: int
    codebooks: np.ndarray | None = None
    tokenizer: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    codes_per_level: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: tuple[str, ...] | None = None
    _documents: Mapping[DocIDTokens, tuple[str, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.tokens:
            raise DataError("a table of identifiers needs at least one document")
        groups: dict[DocIDTokens, list[str]] = {}
        for doc_id, tokens in self.tokens.items():
            _check_tokens(tokens, self.vocab_size, f"document {doc_id!r}")
            groups.setdefault(tokens, []).append(doc_id)
        object.__setattr__(self, "tokens", MappingProxyType(dict(self.tokens)))
        object.__setattr__(self, "_documents", {tokens: tuple(doc_ids) for tokens, doc_ids in groups.items()})

    def __len__(self) -> int:
        return len(self.tokens)

    def tokens_of(self, doc_id: str) -> DocIDTokens:
        """The identifier of a document. Raises ArtefactError for a document that the table was not made for."""
        try:
            return self.tokens[doc_id]
        except KeyError:
            raise ArtefactError(
                f"document {doc_id!r} has no identifier among the {len(self)} of this {self.scheme} table: "
                "the table was made for another corpus; make one with `genir docids build`"
            ) from None

    def documents_of(self, tokens: DocIDTokens) -> tuple[str, ...]:
        """The documents under an identifier, in corpus order; empty where it was never assigned."""
        return self._documents.get(tuple(tokens), ())

    def identifiers(self) -> list[DocIDTokens]:
        """The distinct identifiers, sorted; a prefix stands before what it begins."""
        return sorted(self._documents)

    def collisions(self) -> dict[DocIDTokens, tuple[str, ...]]:
        """The identifiers that several documents share, sorted, with those documents."""
        return {tokens: self._documents[tokens] for tokens in self.identifiers() if len(self._documents[tokens]) > 1}

    def save(self, folder: Path) -> None:
        """Write the table's files into `folder`, each atomically, `scheme.json` last."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.codebooks is None:
            (folder / CODEBOOKS).unlink(missing_ok=True)  # of an earlier table in the same folder
        else:
            books = np.ascontiguousarray(self.codebooks)  # safetensors writes memory as it lies
            write_atomically(folder / CODEBOOKS, lambda path: save_file({"codebooks": books}, path))
        if self.vocabulary is None:
            (folder / VOCABULARY).unlink(missing_ok=True)
        else:
            write_json(folder / VOCABULARY, self.vocabulary)
        write_atomically(folder / DOCIDS, self._write_docids)
        description = {
            "scheme": self.scheme,
            "documents": len(self),
            "vocab_size": self.vocab_size,
            "codes_per_level": self.codes_per_level,
            "codebooks": None if self.codebooks is None else list(self.codebooks.shape),
            "tokenizer": self.tokenizer,
            "vocabulary": None if self.vocabulary is None else len(self.vocabulary),
            "settings": dict(self.settings),
            "facts": dict(self.facts),
        }
        write_json(folder / SCHEME, description)

    def _write_docids(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as stream:
            for doc_id, tokens in self.tokens.items():
                stream.write(json.dumps({"doc_id": doc_id, "docid_tokens": tokens}, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "DocIDTable":
        """The table that `save` wrote.

        Raises ArtefactError, with file and line, for anything missing, broken or truncated.
        """
        about = _read_description(folder)
        tokens = _read_docids(folder / DOCIDS, about["vocab_size"])
        if len(tokens) != about["documents"]:
            raise ArtefactError(
                f"{folder / DOCIDS}: {len(tokens)} documents, but {SCHEME} says {about['documents']}; {_MAKE}"
            )
        return cls(
            scheme=about["scheme"],
            tokens=tokens,
            vocab_size=about["vocab_size"],
            codebooks=_read_codebooks(folder / CODEBOOKS, about["codebooks"]),
            tokenizer=about["tokenizer"],
            settings=about["settings"],
            codes_per_level=about["codes_per_level"],
            facts=about["facts"],
            vocabulary=_read_vocabulary(folder / VOCABULARY, about.get("vocabulary")),
        )


_DESCRIPTION: dict[str, type | tuple[type, ...]] = {
    "scheme": str,
    "documents": int,
    "vocab_size": int,
    "codes_per_level": (int, type(None)),
    "codebooks": (list, type(None)),
    "tokenizer": (str, type(None)),
    "settings": dict,
    "facts": dict,
}


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / SCHEME
    if not path.is_file():
        raise ArtefactError(
            f"{path}: no such file, so {folder} holds no identifiers; make some with `genir docids build`"
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: not valid JSON: {error}; {_MAKE}") from None
    for key, kind in _DESCRIPTION.items():
        if not isinstance(about, dict) or key not in about or not isinstance(about[key], kind):
            raise ArtefactError(f"{path}: key {key!r} is missing or of the wrong type; {_MAKE}")
    return dict(about)


def _read_docids(path: Path, vocab_size: int) -> dict[str, DocIDTokens]:
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; {_MAKE}")
    found: dict[str, DocIDTokens] = {}
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
                doc_id, tokens = row["doc_id"], tuple(row["docid_tokens"])
            except (ValueError, KeyError, TypeError):  # ValueError: not JSON, or not UTF-8
                raise ArtefactError(
                    f'{where}: expected {{"doc_id": TEXT, "docid_tokens": [NUMBERS]}}, got {line[:80]!r}; {_MAKE}'
                ) from None
            if not isinstance(doc_id, str) or doc_id in found:
                raise ArtefactError(
                    f"{where}: doc_id {doc_id!r} is not text, or stands here for the second time; {_MAKE}"
                )
            try:
                _check_tokens(tokens, vocab_size, where)
            except DataError as error:
                raise ArtefactError(f"{error}; {_MAKE}") from None
            found[doc_id] = tokens
    if not found:
        raise ArtefactError(f"{path}: holds no document; {_MAKE}")
    return found


def _read_codebooks(path: Path, shape: list[int] | None) -> np.ndarray | None:
    if shape is None:
        return None
    try:
        books = np.asarray(load_file(path)["codebooks"])
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtefactError(f"{path}: cannot be read: {error}; {_MAKE}") from None
    if list(books.shape) != shape:
        raise ArtefactError(f"{path}: codebooks of shape {list(books.shape)}, but {SCHEME} says {shape}; {_MAKE}")
    return books


def _read_vocabulary(path: Path, size: int | None) -> tuple[str, ...] | None:
    if size is None:  # as in every folder from before there were any
        return None
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: cannot be read: {error}; {_MAKE}") from None
    if not isinstance(words, list) or len(words) != size or not all(isinstance(word, str) for word in words):
        raise ArtefactError(f"{path}: expected a list of {size} texts, as {SCHEME} says; {_MAKE}")
    return tuple(words)


def _check_tokens(tokens: DocIDTokens, vocab_size: int, where: str) -> None:
    if not tokens or any(type(token) is not int or not 0 <= token < vocab_size for token in tokens):
        raise DataError(
            f"{where}: identifier {tokens!r}: expected one token or more, each a whole number 0..{vocab_size - 1}"
        )
