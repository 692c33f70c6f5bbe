"""Identifiers in words: what a person reads where a model writes numbers.

Text identifiers are decoded by their tokenizer, terms stand for themselves, codes lose the offset of their level: (5, 258, 515) of 256
codes a level reads "5-2-3".
"""

from functools import cache
from typing import Any

from docids.table import DocIDTable
from docids.text_tokens import load_tokenizer
from genir.records import DocIDTokens

_tokenizer = cache(load_tokenizer)


def spell(table: DocIDTable, tokens: DocIDTokens) -> str:
    """`tokens`, an identifier of `table`, in words. Raises ArtefactError where the table's tokenizer is not to be had."""
    if table.vocabulary is not None:
        return ", ".join(table.vocabulary[token] for token in tokens)
    if table.tokenizer is not None:
        tokenizer: Any = _tokenizer(table.tokenizer)
        return str(tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()
    codes = tokens if table.codes_per_level is None else [token % table.codes_per_level for token in tokens]
    return "-".join(map(str, codes))
