"""URL identifiers: a document's address in the tokens of a text model (TOME, Ren et al. 2023; Ultron, Zhou et al. 2022).

Policies. What tells no two pages apart goes: scheme, user, "www.", the usual port, slashes at the end. Host names are
written small, percent-encoded text is read (%E5%8C%97 is 北; what is no UTF-8 stays encoded), query and fragment
stay. A URL is cut after `max_tokens` tokens.

Several documents may lie at one URL: the passages of one page. With `duplicates="title"` every one of them gets its
title behind the URL, with "number" all but the first get a number, " (2)" and so on in corpus order, and with
"collide" they stay one identifier of several documents. What is still the same behind its title, or is so by the cut,
is numbered. One identifier may be a prefix of another.

Known gaps: international host names stay as they are written (xn--...); pages that differ in index.html only count as
two.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from docids.table import DocIDTable, doc_ids_of
from docids.text_tokens import LEAST_TOKENS, encode, load_tokenizer, numbered
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError, DataError, unknown_name
from genir.records import DocIDTokens, Document

_SCHEME = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_PATH = re.compile(r"[/?#]")
_PORT = re.compile(r":(?:80|443)?$")
_POLICIES = ("title", "number", "collide")


def normalise_url(url: str) -> str:
    """ "https://www.Example.org/a%20b/" -> "example.org/a b"; empty where nothing is left."""
    rest = _SCHEME.sub("", url.strip())
    path = _PATH.search(rest)
    end = path.start() if path else len(rest)
    host = _PORT.sub("", rest[:end].rpartition("@")[2].lower().removeprefix("www."))
    try:
        tail = unquote(rest[end:], errors="strict")
    except UnicodeDecodeError:
        tail = rest[end:]
    whole = " ".join((host + tail).split())
    return whole.strip("/")


def reversed_url(url: str) -> str:
    """A normalised URL from its page back to its host: "example.org/a/b?c" -> "b?c/a/example.org" (Ultron's order)."""
    query = re.search(r"[?#]", url)
    end = query.start() if query else len(url)
    *above, page = url[:end].split("/")
    return "/".join([page + url[end:], *reversed(above)])


@dataclass
class UrlScheme:
    """`tokenizer` is a Hugging Face name or folder, and must be that of the model that will write the URLs.

    `reverse` writes them from the page to the host, so that the first tokens tell most: in reading order the URLs of one
    site begin with the same ones (on SQuAD's, seven, whose lift over random documents is 1; reversed, the first has 38).
    """

    tokenizer: str = DEFAULT_ENCODER
    max_tokens: int = 64
    duplicates: Literal["title", "number", "collide"] = "title"
    reverse: bool = True
    name: str = field(default="url", init=False)

    def __post_init__(self) -> None:
        if self.duplicates not in _POLICIES:
            raise unknown_name("policy for duplicate URLs", self.duplicates, _POLICIES)
        if self.max_tokens < LEAST_TOKENS:
            raise ConfigError(f"url identifiers need max_tokens of {LEAST_TOKENS} or more, got {self.max_tokens}")

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Identifiers of text token ids, without special tokens.

        Raises DataError for a bad corpus and for documents without a URL, ArtefactError where there is no such
        tokenizer.
        """
        doc_ids_of(corpus)
        addresses = _addresses(corpus)
        tokenizer = load_tokenizer(self.tokenizer)
        whole = self._tokens(corpus, addresses, tokenizer)
        cut = {doc_id: tokens[: self.max_tokens] for doc_id, tokens in whole.items()}
        made = cut if self.duplicates == "collide" else numbered(cut, tokenizer, self.max_tokens)
        pages = Counter(addresses)
        return DocIDTable(
            self.name,
            made,
            vocab_size=len(tokenizer),
            tokenizer=self.tokenizer,
            settings={"max_tokens": self.max_tokens, "duplicates": self.duplicates, "reverse": self.reverse},
            facts={
                "pages": len(pages),
                "documents_that_share_a_page": sum(count for count in pages.values() if count > 1),
                "cut_urls": sum(len(tokens) > self.max_tokens for tokens in whole.values()),
                "numbered": sum(made[doc_id] != cut[doc_id] for doc_id in made),
            },
        )

    def _tokens(self, corpus: Sequence[Document], addresses: Sequence[str], tokenizer: Any) -> dict[str, DocIDTokens]:
        """Whole, before the cut: of the URL, and of the title where the URL is shared and titles are wanted."""
        urls = [encode(tokenizer, reversed_url(one) if self.reverse else one) for one in addresses]
        for document, tokens in zip(corpus, urls, strict=True):
            if not tokens:
                raise DataError(
                    f"document {document.doc_id!r} has a URL that tokenizer {self.tokenizer!r} does not read: "
                    f"{document.url!r}; give another tokenizer"
                )
        sharing = Counter(urls)  # equal as the tokenizer reads them, which may drop case
        whole: dict[str, DocIDTokens] = {}
        for document, tokens in zip(corpus, urls, strict=True):
            title = document.title.strip() if self.duplicates == "title" and sharing[tokens] > 1 else ""
            whole[document.doc_id] = tokens + (encode(tokenizer, f" {title}") if title else ())
        return whole


def _addresses(corpus: Sequence[Document]) -> list[str]:
    """Every document's normalised URL. Raises DataError, with a count, where some have none."""
    addresses = [normalise_url(document.url) for document in corpus]
    without = [document.doc_id for document, address in zip(corpus, addresses, strict=True) if not address]
    if without:
        raise DataError(
            f"{len(without)} of {len(corpus)} documents have no URL, the first {without[0]!r}: url identifiers need one "
            'for every document; add "url" to their lines of corpus.jsonl, or give them titles and use --scheme title'
        )
    return addresses
