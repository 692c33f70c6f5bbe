"""Atomic identifiers: every document is one token of its own (DSI's "unstructured atomic", Tay et al. 2022).

One decoding step ranks everything, and nothing is shared between documents: the vocabulary grows with the corpus.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from docids.table import DocIDTable, doc_ids_of
from genir.records import Document


@dataclass
class AtomicScheme:
    """Token i for the i-th document; vocabulary of N tokens."""

    name: str = field(default="atomic", init=False)

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Identifiers of length one. Raises DataError for an empty corpus or a doc_id that stands twice."""
        doc_ids = doc_ids_of(corpus)
        return DocIDTable(self.name, {doc_id: (i,) for i, doc_id in enumerate(doc_ids)}, vocab_size=len(doc_ids))
