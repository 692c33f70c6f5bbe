"""Learned identifiers as a scheme: residual codes, assigned anew as after a round of training that moved the embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from docids.learned import NAME, Reassignment, reassigned_table
from docids.residual import ResidualScheme
from docids.table import DocIDTable
from docids.vectors import corpus_vectors
from genir.embedding import TextEncoder
from genir.records import Document


@dataclass
class LearnedScheme:
    """What training makes of `levels` residual codes out of `codes`; `seed` draws them, and how the embeddings moved."""

    levels: int = 3
    codes: int = 32
    seed: int = 0
    encoder: TextEncoder = field(default_factory=TextEncoder)
    name: str = field(default=NAME, init=False)

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """The identifiers after one re-assignment."""
        start = ResidualScheme(self.levels, self.codes, self.seed, encoder=self.encoder).assign(corpus)
        assert start.codebooks is not None
        vectors = corpus_vectors(corpus, self.encoder)
        moved = vectors + 0.1 * np.random.default_rng(self.seed).standard_normal(vectors.shape).astype(np.float32)
        how = Reassignment(inertia=0.0, ridge=1.0, seed=self.seed)
        return reassigned_table(start, moved, start.codebooks, how, {"rounds": 2})[0]
