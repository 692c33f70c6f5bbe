"""Title identifiers: a document's title in the tokens of a text model (GENRE, De Cao et al. 2021).

Policies. A missing title is replaced by the first words of the text, and where there is no text either, by the
doc_id. A title is cut after `max_tokens` tokens. Titles that come out as the same tokens, by being equal, by casing
that the tokenizer drops, or by the cut, are told apart by a number behind them, " (2)" on the second document and so
on in corpus order; with `duplicates="collide"` they stay one identifier of several documents. One identifier may be a
prefix of another. Titles that are all the same are legal, and warned of.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from docids.table import DocIDTable, doc_ids_of
from docids.text_tokens import LEAST_TOKENS, encode, load_tokenizer, numbered
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError, DataError, unknown_name
from genir.records import DocIDTokens, Document


@dataclass
class TitleScheme:
    """`tokenizer` is a Hugging Face name or folder, and must be that of the model that will write the titles."""

    tokenizer: str = DEFAULT_ENCODER
    max_tokens: int = 32
    fallback_words: int = 12
    duplicates: Literal["number", "collide"] = "number"
    name: str = field(default="title", init=False)

    def __post_init__(self) -> None:
        if self.duplicates not in ("number", "collide"):
            raise unknown_name("policy for duplicate titles", self.duplicates, ("number", "collide"))
        if self.max_tokens < LEAST_TOKENS or self.fallback_words < 1:
            raise ConfigError(
                f"title identifiers need max_tokens of {LEAST_TOKENS} or more and fallback_words of 1 or more, "
                f"got {self.max_tokens} and {self.fallback_words}"
            )

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Identifiers of text token ids, without special tokens.

        Raises DataError for a bad corpus, ArtefactError where there is no such tokenizer.
        """
        doc_ids_of(corpus)
        tokenizer = load_tokenizer(self.tokenizer)
        titles = {document.doc_id: self._title_tokens(document, tokenizer) for document in corpus}
        cut = {doc_id: tokens[: self.max_tokens] for doc_id, tokens in titles.items()}
        shared = len(cut) - len(set(cut.values()))
        if len(cut) == shared + 1 > 1:
            title = tokenizer.decode(next(iter(cut.values())))
            warnings.warn(
                f"the titles of all {len(cut)} documents come out as {title!r}: their identifiers say nothing of what is in "
                "them; give the documents titles of their own, or use another scheme",
                stacklevel=2,
            )
        return DocIDTable(
            self.name,
            cut if self.duplicates == "collide" else numbered(cut, tokenizer, self.max_tokens),
            vocab_size=len(tokenizer),
            tokenizer=self.tokenizer,
            settings={
                "max_tokens": self.max_tokens,
                "fallback_words": self.fallback_words,
                "duplicates": self.duplicates,
            },
            facts={
                "missing_titles": sum(not document.title.strip() for document in corpus),
                "cut_titles": sum(len(tokens) > self.max_tokens for tokens in titles.values()),
                "duplicate_titles": shared,
            },
        )

    def _title_tokens(self, document: Document, tokenizer: Any) -> DocIDTokens:
        """Whole, before the cut: of the title, or of what stands in for it."""
        opening = " ".join(document.text.split()[: self.fallback_words])
        for candidate in (document.title.strip(), opening, document.doc_id):
            tokens = encode(tokenizer, candidate)
            if tokens:
                return tokens
        raise DataError(
            f"document {document.doc_id!r} has neither title, text nor doc_id that tokenizer {self.tokenizer!r} reads"
        )
