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


class EmbeddingChecker:
    """See the module. The claim is embedded behind its question, where there is one."""

    verdicts: tuple[Verdict, ...] = ("supported", "unsupported")

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"embedding:{self.encoder.name}"

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """See SupportChecker. Raises ArtefactError where the encoder cannot be loaded."""
        vectors = embed_once(
            [text for one in statements for text in (hypothesis(one), *sentence_texts(one.evidence))], self.encoder
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


def embed_once(texts: Sequence[str], encoder: TextEncoder) -> dict[str, np.ndarray]:
    """Text -> its unit vector (D,), every text embedded once however often it stands there."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, encoder.encode(distinct), strict=True)) if distinct else {}
