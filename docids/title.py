"""Title identifiers: a document's title in the tokens of a text model (GENRE, De Cao et al. 2021).

Policies. A missing title is replaced by the first words of the text, and where there is no text either, by the
doc_id. A title is cut after `max_tokens` tokens. Titles that come out as the same tokens, by being equal, by casing
that the tokenizer drops, or by the cut, are told apart by a number behind them, " (2)" on the second document and so
on in corpus order; with `duplicates="collide"` they stay one identifier of several documents. One identifier may be a
prefix of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from docids.table import DocIDTable, doc_ids_of
from genir.embedding import DEFAULT_ENCODER, resolve_encoder
from genir.errors import ArtefactError, ConfigError, DataError, unknown_name
from genir.records import DocIDTokens, Document

_LEAST_TOKENS = 12  # room for the number behind a title, whatever the tokenizer, and some of the title


@dataclass
class TitleScheme:
    """`tokenizer` is a Hugging Face name or folder, and must be that of the model that will write the titles."""

    tokenizer: str = DEFAULT_ENCODER
    max_tokens: int = 32
    fallback_words: int = 12
    duplicates: Literal["number", "collide"] = "number"
    name: str = field(default="title", init=False)

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Identifiers of text token ids, without special tokens.

        Raises DataError for a bad corpus, ConfigError for bad settings, ArtefactError where there is no such tokenizer.
        """
        if self.duplicates not in ("number", "collide"):
            raise unknown_name("policy for duplicate titles", self.duplicates, ("number", "collide"))
        if self.max_tokens < _LEAST_TOKENS or self.fallback_words < 1:
            raise ConfigError(
                f"title identifiers need max_tokens of {_LEAST_TOKENS} or more and fallback_words of 1 or more, "
                f"got {self.max_tokens} and {self.fallback_words}"
            )
        doc_ids_of(corpus)
        tokenizer = _load_tokenizer(self.tokenizer)
        titles = {document.doc_id: self._title_tokens(document, tokenizer) for document in corpus}
        cut = {doc_id: tokens[: self.max_tokens] for doc_id, tokens in titles.items()}
        shared = len(cut) - len(set(cut.values()))
        return DocIDTable(
            self.name,
            cut if self.duplicates == "collide" else self._numbered(cut, tokenizer),
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
            tokens = _encode(tokenizer, candidate)
            if tokens:
                return tokens
        raise DataError(
            f"document {document.doc_id!r} has neither title, text nor doc_id that tokenizer {self.tokenizer!r} reads"
        )

    def _numbered(self, titles: dict[str, DocIDTokens], tokenizer: Any) -> dict[str, DocIDTokens]:
        """Distinct identifiers: the first document of a title keeps it, the others take the next free number."""
        taken = set(titles.values())
        kept: set[DocIDTokens] = set()
        next_number: dict[DocIDTokens, int] = {}
        distinct: dict[str, DocIDTokens] = {}
        for doc_id, title in titles.items():
            tokens = title
            if title in kept:
                number = next_number.get(title, 2)
                while (tokens := self._with_number(title, number, tokenizer)) in taken:
                    number += 1
                next_number[title] = number + 1
                taken.add(tokens)
            kept.add(title)
            distinct[doc_id] = tokens
        return distinct

    def _with_number(self, title: DocIDTokens, number: int, tokenizer: Any) -> DocIDTokens:
        suffix = _encode(tokenizer, f" ({number})")
        return title[: self.max_tokens - len(suffix)] + suffix


def _encode(tokenizer: Any, text: str) -> DocIDTokens:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(resolve_encoder(name))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"tokenizer {name!r}: cannot be loaded: {reason}; give a folder or a hub name") from None
