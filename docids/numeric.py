"""Numeric identifiers: the document's place in the corpus, written in digits (DSI's "naive string", Tay et al. 2022).

Digits are the tokens 0..9, shared by all positions. Unpadded, one identifier may be a prefix of another (1 of 10),
which is legal: a model then needs an end token. Zero-padded, all have one length.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from docids.table import DocIDTable, doc_ids_of
from genir.records import Document


@dataclass
class NumericScheme:
    """The digits of 0, 1, 2, ...; `zero_padded` to the length of the last."""

    zero_padded: bool = False
    name: str = field(default="numeric", init=False)

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Digit identifiers. Raises DataError for an empty corpus or a doc_id that stands twice."""
        doc_ids = doc_ids_of(corpus)
        width = len(str(len(doc_ids) - 1)) if self.zero_padded else 1
        tokens = {doc_id: tuple(int(digit) for digit in f"{i:0{width}d}") for i, doc_id in enumerate(doc_ids)}
        return DocIDTable(self.name, tokens, vocab_size=10, settings={"zero_padded": self.zero_padded})
