"""What title and URL identifiers share: text -> tokens of a text model, and numbers that tell equal texts apart.

Invariant: no special tokens. Known gap: a number behind a text reads as the tokenizer writes it, so "Oslo (2)" may be
"Oslo  (2)".
"""

from collections.abc import Mapping
from typing import Any

from genir.embedding import resolve_encoder
from genir.models.pretrained import loading
from genir.records import DocIDTokens

LEAST_TOKENS = 12  # room for the number behind a text, whatever the tokenizer, and some of the text


def load_tokenizer(name: str) -> Any:
    """A Hugging Face tokenizer by hub name or folder. Raises ArtefactError where there is none."""
    from transformers import AutoTokenizer

    with loading(f"tokenizer {name!r}"):
        return AutoTokenizer.from_pretrained(resolve_encoder(name))


def encode(tokenizer: Any, text: str) -> DocIDTokens:
    """Token ids of `text`; none for an empty one."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()


def numbered(identifiers: Mapping[str, DocIDTokens], tokenizer: Any, max_tokens: int) -> dict[str, DocIDTokens]:
    """The same doc_ids with distinct identifiers of at most `max_tokens` tokens (LEAST_TOKENS or more).

    The first document of an identifier keeps it; the others take the next free number behind it, " (2)" and so on, in
    corpus order.
    """
    taken = set(identifiers.values())
    kept: set[DocIDTokens] = set()
    next_number: dict[DocIDTokens, int] = {}
    distinct: dict[str, DocIDTokens] = {}
    for doc_id, wanted in identifiers.items():
        tokens = wanted
        if wanted in kept:
            number = next_number.get(wanted, 2)
            while (tokens := _with_number(wanted, number, tokenizer, max_tokens)) in taken:
                number += 1
            next_number[wanted] = number + 1
            taken.add(tokens)
        kept.add(wanted)
        distinct[doc_id] = tokens
    return distinct


def _with_number(tokens: DocIDTokens, number: int, tokenizer: Any, max_tokens: int) -> DocIDTokens:
    suffix = encode(tokenizer, f" ({number})")
    return tokens[: max_tokens - len(suffix)] + suffix
