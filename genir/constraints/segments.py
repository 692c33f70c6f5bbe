"""Several segments as one: their rows in one order, so that the range of an n-gram stays one range.

Each row of an added segment has its place among the rows of the segments in front of it. All rows below those of an
n-gram are then the sum of what is below in each segment: a range of all rows is the sum of the segments' ranges, and
falls apart again by one binary search a segment. Separators of later documents come later, but in front of all tokens.
What was deleted is marked, not moved: rows stay, and are not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from genir.constraints.segment import Segment
from genir.constraints.wavelet import RankedBits, WaveletMatrix

Ints = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A segment within an index: its documents' numbers, its rows' places, and what is deleted of it.

    places (R,) int32: where its rows stand among those of the parts up to this; None in the first part
    dead   (D,) bool:  its deleted documents
    live, ends:        rows of live documents, and those of them that end a document; None and the segment's if all live
    """

    segment: Segment
    first_document: int
    places: Ints | None
    dead: Ints
    live: RankedBits | None
    ends: RankedBits

    @classmethod
    def build(cls, segment: Segment, in_front: Sequence["Part"], dead: Ints) -> "Part":
        """`segment` behind the parts in front of it, documents `dead` (D,) deleted."""
        first = in_front[-1].next_document if in_front else 0
        places = None
        if in_front:
            below = [part.segment.rows_below(segment) for part in in_front]
            places = (reduce(add, below) + np.arange(segment.num_rows)).astype(np.int32)
        part = cls(segment, first, places, np.zeros(len(dead), bool), None, segment.ends)
        return part.without(dead) if dead.any() else part

    def without(self, documents: Ints) -> "Part":
        """The same with some documents, a mask (D,), deleted as well."""
        if not documents.any():
            return self
        dead = self.dead | documents
        live = ~self.segment.rows_where(dead)
        ends = live & self.segment.ends[np.arange(self.segment.num_rows)]
        return replace(self, dead=dead, live=RankedBits.build(live), ends=RankedBits.build(ends))

    def count(self, bounds: Ints) -> Ints:
        """Live rows of each range (2, E): (E,)."""
        low, high = bounds if self.live is None else self.live.before(bounds)
        return np.asarray(high - low)

    def count_ends(self, bounds: Ints) -> Ints:
        """Those of them that end their document."""
        low, high = self.ends.before(bounds)
        return np.asarray(high - low)

    @property
    def next_document(self) -> int:
        """The number behind that of its last document."""
        return self.first_document + self.segment.num_documents

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, Ints]:
        """All of it but `first_document`, by name."""
        segment = self.segment
        named = {name: getattr(segment, name) for name in ("alphabet", "first_rows", "suffixes", "starts")}
        named |= {f"bwt.{name}": getattr(segment.bwt, name) for name in ("words", "counts", "zeros", "first")}
        named |= {"ends.words": segment.ends.words, "ends.counts": segment.ends.counts, "dead": self.dead}
        if self.places is not None:
            named["places"] = self.places
        if self.live is not None:
            named |= {"live.words": self.live.words, "live.counts": self.live.counts}
            named |= {"live_ends.words": self.ends.words, "live_ends.counts": self.ends.counts}
        return named

    @classmethod
    def of(cls, arrays: Mapping[str, Ints], first_document: int) -> "Part":
        """From what `arrays` gives; words may have lost that they are unsigned."""

        def bits(name: str) -> RankedBits:
            return RankedBits(arrays[f"{name}.words"].view("<u8"), arrays[f"{name}.counts"])

        words = arrays["bwt.words"].view("<u8")
        bwt = WaveletMatrix(words, arrays["bwt.counts"], arrays["bwt.zeros"], arrays["bwt.first"])
        alphabet, first_rows, suffixes = arrays["alphabet"], arrays["first_rows"], arrays["suffixes"]
        segment = Segment(alphabet, first_rows, suffixes, arrays["starts"], bwt, bits("ends"))
        live, ends = (bits("live"), bits("live_ends")) if "live.words" in arrays else (None, segment.ends)
        return cls(segment, first_document, arrays.get("places"), arrays["dead"], live, ends)


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Parts in order, at least one. A range of all rows is a pair of bounds (2, N); its pieces are one such array a part."""

    parts: tuple[Part, ...]

    @classmethod
    def build(cls, documents: Sequence[Ints]) -> "Segments":
        """One segment of all documents."""
        return cls((Part.build(Segment.build(documents), (), np.zeros(len(documents), bool)),))

    # --- ranges -------------------------------------------------------------------------------------------------------

    @property
    def num_rows(self) -> int:
        """Tokens and separators of all documents, the deleted ones included."""
        return sum(part.segment.num_rows for part in self.parts)

    def split(self, bounds: Ints) -> list[Ints]:
        """The pieces of ranges (2, N)."""
        pieces = []
        for part in reversed(self.parts):
            below = bounds if part.places is None else np.searchsorted(part.places, bounds.astype(np.int32))
            pieces.append(below)
            bounds = bounds - below
        return pieces[::-1]

    def count(self, pieces: Sequence[Ints]) -> Ints:
        """Live rows (N,) of ranges (2, N)."""
        return reduce(add, (part.count(piece) for part, piece in zip(self.parts, pieces, strict=True)))

    def go_on(self, pieces: Sequence[Ints]) -> Ints:
        """Whether any token stands behind the n-grams of ranges (2, N) in a live document: (N,)."""
        ends = reduce(add, (part.count_ends(piece) for part, piece in zip(self.parts, pieces, strict=True)))
        return self.count(pieces) > ends

    def find(self, ngram: Ints) -> list[Ints]:
        """The pieces of an n-gram's range (2, 1)."""
        pieces = self.split(np.array([[0], [self.num_rows]]))
        for token in ngram:
            pieces = [part.segment.extend(token[None], piece) for part, piece in zip(self.parts, pieces, strict=True)]
        return pieces

    def children(self, bounds: Ints) -> tuple[Ints, Ints, list[Ints]]:
        """What stands behind ranges (2, N) in live documents: owners (E,), tokens (E,), the pieces of the longer n-grams.

        Owners ascend, and so do the tokens of one owner.
        """
        split = self.split(bounds)
        found = [part.segment.children(piece) for part, piece in zip(self.parts, split, strict=True)]
        owners, tokens, pieces = self._union(split, found) if len(found) > 1 else (*found[0][:2], [found[0][2]])
        if any(part.live is not None for part in self.parts):
            alive = self.count(pieces) > 0
            owners, tokens, pieces = owners[alive], tokens[alive], [piece[:, alive] for piece in pieces]
        return owners, tokens, pieces

    def _union(self, split: Sequence[Ints], found: Sequence[tuple[Ints, Ints, Ints]]) -> tuple[Ints, Ints, list[Ints]]:
        """What `children` found in each part as one."""
        alphabet, columns = np.unique(np.concatenate([tokens for _, tokens, _ in found]), return_inverse=True)
        width = max(len(alphabet), 1)
        keys, rows = np.unique(
            np.concatenate([owners for owners, _, _ in found]) * width + columns, return_inverse=True
        )
        owners, tokens = keys // width, alphabet[keys % width]
        pieces = []
        own_rows = np.split(rows, np.cumsum([len(owners) for owners, _, _ in found])[:-1])
        for part, piece, own, (_, _, bounds) in zip(self.parts, split, own_rows, found, strict=True):
            merged = np.zeros((2, len(keys)), np.int64)
            merged[:, own] = bounds
            elsewhere = np.ones(len(keys), bool)
            elsewhere[own] = False
            # What does not occur in this part has a place in its rows all the same.
            merged[:, elsewhere] = part.segment.extend(tokens[elsewhere], piece[0, owners[elsewhere]])
            pieces.append(merged)
        return owners, tokens, pieces

    # --- documents ----------------------------------------------------------------------------------------------------

    @property
    def dead(self) -> Ints:
        """Mask over all document numbers: the deleted ones."""
        return np.concatenate([part.dead for part in self.parts])

    def with_documents(self, documents: Sequence[Ints]) -> "Segments":
        """One segment more; those at the end that are no larger than what is added are built anew together with it."""
        parts, documents, dead = self.parts, list(documents), np.zeros(len(documents), bool)
        while parts and parts[-1].segment.num_rows <= sum(map(len, documents)) + len(documents):
            last, parts = parts[-1], parts[:-1]
            held = zip(last.segment.documents(), last.dead, strict=True)
            documents = [document[:0] if gone else document for document, gone in held] + documents
            dead = np.concatenate([last.dead, dead])
        return Segments((*parts, Part.build(Segment.build(documents), parts, dead)))

    def without_documents(self, documents: Ints) -> "Segments":
        """The same with some documents, a mask over all numbers, deleted as well."""
        pieces = np.split(documents, [part.first_document for part in self.parts[1:]])
        return Segments(tuple(part.without(piece) for part, piece in zip(self.parts, pieces, strict=True)))
