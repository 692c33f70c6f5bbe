"""Hierarchical k-means identifiers: DSI's "semantically structured" ones (Tay et al. 2022, algorithm 1).

Documents are clustered into C groups, every group of more than C again, and so on; the last token is the document's
place in its leaf. Here a leaf holds at most C documents (DSI: 100 with C = 10), so that one token suffices.
Identifiers differ in length and none is a prefix of another. All are distinct.

Known gap: k-means does not balance, so the depth, and with it the vocabulary (depth * C), depends on the corpus.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from docids.clustering import kmeans
from docids.table import DocIDTable, doc_ids_of, level_tokens
from docids.vectors import checked_vectors, corpus_vectors, encoder_settings
from genir.embedding import TextEncoder
from genir.errors import ConfigError
from genir.records import Document


def hierarchical_codes(
    vectors: np.ndarray, branching: int, seed: int = 0, iterations: int = 25
) -> list[tuple[int, ...]]:
    """Codes 0..branching-1 for every row of `vectors` (N, D), one tuple a row, all distinct."""
    vectors = checked_vectors(vectors)
    codes: list[list[int]] = [[] for _ in vectors]
    pending = [np.arange(len(vectors))]
    while pending:
        rows = pending.pop()
        if len(rows) <= branching:
            for position, row in enumerate(rows):
                codes[row].append(position)
            continue
        _, labels = kmeans(vectors[rows], branching, seed, iterations)
        if labels.min() == labels.max():  # identical documents: nothing to go by but their order
            labels = np.arange(len(rows)) * branching // len(rows)
        for label in np.unique(labels):
            members = rows[labels == label]
            for row in members:
                codes[row].append(int(label))
            pending.append(members)
    return [tuple(row) for row in codes]


@dataclass
class HierarchicalScheme:
    """Recursive k-means with `branching` clusters over the embeddings of titles and texts."""

    branching: int = 10
    seed: int = 0
    iterations: int = 25
    encoder: TextEncoder = field(default_factory=TextEncoder)
    name: str = field(default="hierarchical", init=False)

    def __post_init__(self) -> None:
        if self.branching < 2:
            raise ConfigError(f"hierarchical identifiers need a branching of 2 or more, got {self.branching}")

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Identifiers with tokens level * branching + code. Raises DataError for a bad corpus."""
        doc_ids = doc_ids_of(corpus)
        codes = hierarchical_codes(corpus_vectors(corpus, self.encoder), self.branching, self.seed, self.iterations)
        depth = max(map(len, codes))
        return DocIDTable(
            self.name,
            {doc_id: level_tokens(row, self.branching) for doc_id, row in zip(doc_ids, codes, strict=True)},
            vocab_size=depth * self.branching,
            settings={
                "branching": self.branching,
                "seed": self.seed,
                "iterations": self.iterations,
                **encoder_settings(self.encoder),
            },
            codes_per_level=self.branching,
            facts={"depth": depth},
        )
