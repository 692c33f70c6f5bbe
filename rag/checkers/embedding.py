"""Support by closeness: the cosine of the claim with the evidence's best sentence, by any text encoder.

A sentence that says the opposite lies as close as one that says the same, so that this sees whether the evidence is about
the claim rather than whether it holds. It is what much of the field calls "embedding-based support", and is measured as such.

Invariant: `supported` is the cosine, cut at 0; it is no probability.
"""

from collections.abc import Sequence

import numpy as np

from genir.embedding import TextEncoder
from genir.records import Verdict
from rag.checkers.nli import hypothesis
from rag.sentences import split_sentences
from rag.verification import NO_SUPPORT, Statement, Support

MOST_KEPT = 1 << 16  # vectors, of 384 dimensions some hundred megabytes


class EmbeddingChecker:
    """See the module. The claim is embedded behind its question, where there is one; the vectors are kept for the next statements."""

    verdicts: tuple[Verdict, ...] = ("supported", "unsupported")

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self._vectors: dict[str, np.ndarray] = {}

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"embedding:{self.encoder.name}"

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """See SupportChecker. Raises ArtefactError where the encoder cannot be loaded."""
        vectors = embed_once(
            [text for one in statements for text in (hypothesis(one), *sentence_texts(one.evidence))],
            self.encoder,
            self._vectors,
        )
        found = []
        for one in statements:
            told = sentence_texts(one.evidence)
            if not one.claim.strip() or not told:
                found.append(NO_SUPPORT)
                continue
            cosine = float(max(vectors[hypothesis(one)] @ vectors[sentence] for sentence in told))
            found.append(Support(min(1.0, max(0.0, cosine))))
        return found


def sentence_texts(text: str) -> list[str]:
    """The sentences of `text`."""
    return [text[start:end] for start, end in split_sentences(text)]


def embed_once(
    texts: Sequence[str], encoder: TextEncoder, kept: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Text -> its unit vector (D,), every text embedded once however often it stands there; those in `kept` not again.

    The new ones are added to `kept`, which is emptied first where it holds `MOST_KEPT` or more.
    """
    kept = {} if kept is None else kept
    if len(kept) >= MOST_KEPT:
        kept.clear()
    new = [text for text in dict.fromkeys(texts) if text not in kept]
    if new:
        kept.update(zip(new, encoder.encode(new), strict=True))
    return kept
