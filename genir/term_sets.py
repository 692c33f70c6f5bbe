"""Documents as weighted sets of terms: the set-based half of a model's identifiers, beside the sequences that it writes.

Planning ahead in generative retrieval (PAG, Zeng et al. 2024, arXiv:2404.14600) gives every document a set of terms next to its
sequence of codes. Here a set starts as BM25's: the weight of term t in document d is the saturated frequency

    w(d, t) = f / (f + k1 (1 - b + b length / mean length)),   f = title_boost * in the title + text_boost * in the text

and the weight of t in a question its inverse document frequency, log(1 + (N - n + .5) / (n + .5)); a phrase counts `phrase_weight`
times as much. Scores then equal Lucene's BM25 (without phrases, with both boosts 1), and training goes on from there.

Entries stand term by term: those of term t are pointers[t] .. pointers[t + 1], documents ascending.
Shape letters: N documents, V terms, E entries.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from genir.config import from_mapping
from genir.errors import ArtefactError, ConfigError, DataError
from genir.lexicon import Lexicon, LexiconSettings, is_phrase
from genir.manifest import write_atomically, write_json
from genir.records import Document

_ARRAYS, _WORDS = "term_sets.safetensors", "terms.json"


@dataclass(frozen=True)
class TermSetSettings:
    """How sets start. A phrase that fewer than `min_documents` documents hold is left out, words never are."""

    k1: float = 0.9
    b: float = 0.4
    title_boost: float = 1.0
    text_boost: float = 1.0
    phrase_weight: float = 0.5
    min_documents: int = 1
    lexicon: LexiconSettings = field(default_factory=LexiconSettings)

    def __post_init__(self) -> None:
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise ConfigError(f"k1 is {self.k1} and b is {self.b}: expected k1 >= 0 and 0 <= b <= 1")
        if min(self.title_boost, self.text_boost) < 0 or self.title_boost + self.text_boost == 0:
            raise ConfigError(
                f"title_boost is {self.title_boost} and text_boost {self.text_boost}: expected 0 or more, one of them above"
            )
        if self.phrase_weight < 0 or self.min_documents < 1:
            raise ConfigError(
                f"phrase_weight is {self.phrase_weight} and min_documents {self.min_documents}: expected 0 or more, and at least 1"
            )


@dataclass(frozen=True, eq=False)
class TermCounts:
    """Where the terms of a corpus stand: what settings of weights start from. Entries are sorted by term, then document."""

    lexicon: LexiconSettings
    doc_ids: tuple[str, ...]
    terms: tuple[str, ...]  # sorted
    term: np.ndarray  # (E,) int64
    document: np.ndarray  # (E,) int64
    frequency: np.ndarray  # (E, 2) float32, in title and text
    length: np.ndarray  # (N, 2) words of title and text

    @classmethod
    def of(cls, corpus: Sequence[Document], settings: LexiconSettings, min_documents: int = 1) -> "TermCounts":
        """Count a corpus. Raises DataError where no document holds a term."""
        lexicon = Lexicon(settings)
        counts: list[dict[str, list[int]]] = []
        length = np.zeros((len(corpus), 2), dtype=np.float32)
        for number, document in enumerate(tqdm(corpus, desc="terms", delay=2, leave=False)):
            found: dict[str, list[int]] = {}
            for place, text in enumerate((document.title, document.text)):
                for one in lexicon.occurrences(text):
                    found.setdefault(one.term, [0, 0])[place] += 1
                    length[number, place] += not one.is_phrase
            counts.append(found)
        holders = Counter(term for found in counts for term in found)
        terms = sorted(term for term, n in holders.items() if n >= min_documents or not is_phrase(term))
        if not terms:
            raise DataError(
                f"none of {len(corpus)} documents holds a letter or digit: there are no terms to find them by"
            )
        number_of = {term: i for i, term in enumerate(terms)}
        entries = [
            (number_of[term], document, *frequency)
            for document, found in enumerate(counts)
            for term, frequency in found.items()
            if term in number_of
        ]
        table = np.array(entries, dtype=np.int64)
        table = table[np.argsort(table[:, 0], kind="stable")]
        ids = tuple(document.doc_id for document in corpus)
        return cls(settings, ids, tuple(terms), table[:, 0], table[:, 1], table[:, 2:].astype(np.float32), length)


@dataclass(frozen=True, eq=False)
class TermSets:
    """The sets of a corpus, documents numbered in its order."""

    settings: TermSetSettings
    doc_ids: tuple[str, ...]
    terms: tuple[str, ...]
    pointers: Tensor  # (V + 1,) int64
    documents: Tensor  # (E,) int64
    weights: Tensor  # (E,) float32, in documents
    importance: Tensor  # (V,) float32, in questions

    @classmethod
    def build(cls, corpus: Sequence[Document], settings: TermSetSettings = TermSetSettings()) -> "TermSets":
        """The sets of a corpus. Raises DataError where no document holds a term."""
        return cls.weigh(TermCounts.of(corpus, settings.lexicon, settings.min_documents), settings)

    @classmethod
    def weigh(cls, counts: TermCounts, settings: TermSetSettings) -> "TermSets":
        """The sets of counted documents."""
        boosts = np.array([settings.title_boost, settings.text_boost], dtype=np.float32)
        frequency = counts.frequency @ boosts
        length = counts.length @ boosts
        norm = settings.k1 * (1 - settings.b + settings.b * length / (float(length.mean()) or 1.0))
        holds = frequency > 0
        denominator = frequency + norm[counts.document]
        weights = np.divide(frequency, denominator, out=np.zeros_like(frequency), where=holds)
        N, V = len(counts.doc_ids), len(counts.terms)
        holders = np.bincount(counts.term, weights=holds, minlength=V)
        idf = np.log1p((N - holders + 0.5) / (holders + 0.5))
        phrases = np.array([settings.phrase_weight if is_phrase(term) else 1.0 for term in counts.terms])
        return cls(
            settings,
            counts.doc_ids,
            counts.terms,
            torch.from_numpy(np.searchsorted(counts.term, np.arange(V + 1))),
            torch.from_numpy(counts.document),
            torch.from_numpy(weights.astype(np.float32)),
            torch.from_numpy((idf * phrases).astype(np.float32)),
        )

    def __len__(self) -> int:
        return len(self.doc_ids)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(tensor.nbytes for tensor in self._tensors().values())

    def _tensors(self) -> dict[str, Tensor]:
        names = ("pointers", "documents", "weights", "importance")
        return {name: getattr(self, name) for name in names}

    def save(self, folder: Path) -> None:
        """Write the arrays, and terms.json with everything else."""
        folder.mkdir(parents=True, exist_ok=True)
        narrow = self._tensors() | {"documents": self.documents.int()}
        write_atomically(folder / _ARRAYS, lambda temporary: save_file(narrow, temporary))
        write_json(folder / _WORDS, {"settings": asdict(self.settings), "doc_ids": self.doc_ids, "terms": self.terms})

    @classmethod
    def load(cls, folder: Path) -> "TermSets":
        """What `save` wrote. Raises ArtefactError for anything missing or broken."""
        try:
            about: dict[str, Any] = json.loads((folder / _WORDS).read_text(encoding="utf-8"))
            arrays = load_file(folder / _ARRAYS)
            settings = from_mapping(TermSetSettings, about["settings"], str(folder / _WORDS))
            found = cls(
                settings,
                tuple(about["doc_ids"]),
                tuple(about["terms"]),
                arrays["pointers"],
                arrays["documents"].long(),
                arrays["weights"],
                arrays["importance"],
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtefactError(f"{folder}: no readable term sets ({error}); make them again") from None
        if len(found.pointers) != len(found.terms) + 1 or int(found.pointers[-1]) != len(found.documents):
            raise ArtefactError(f"{folder}: terms and arrays do not fit each other; make them again")
        return found
