"""A full-text index over consecutive documents: suffix array, Burrows-Wheeler transform, ranks (Ferragina and Manzini 2000).

Documents are written backwards, one behind the other, each followed by a separator of its own. So an n-gram is the
beginning of all suffixes in one range of rows, and a token behind the n-gram is a symbol in front of these suffixes: the
range of the longer n-gram is one rank away from that of the shorter (Bevilacqua et al. 2022, section 3, index the
reversed text for that reason).

Symbol 0 is the separator, symbol i + 1 the token alphabet[i]. Separators sort by document, below every token, so rows
0 .. documents - 1 are theirs, no range of an n-gram holds one, and none is matched across.

Size: 4 bytes a token for the suffix array, 1.5 bits a token and digit of the alphabet for the wavelet matrix, and 1.5
bits for the ends of documents; 7.3 bytes a token over 27,000 word pieces. The suffix array is whole: sampling every
32nd row would take the index down to 3.6 bytes, but each occurrence would then cost up to 31 walks through the wavelet
matrix instead of one look-up, and so would the rows of a deleted document.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genir.constraints.suffix_array import suffix_array
from genir.constraints.wavelet import RankedBits, WaveletMatrix

Ints = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The documents that were given, D of them, in R rows (their tokens and D separators). Make one with `build`.

    alphabet   (S,)    int64  the distinct tokens, ascending
    first_rows (S + 2,) int64  the first row of each symbol's suffixes, and R
    suffixes   (R,)    int32  where in the reversed text each row's suffix starts
    starts     (D + 1,) int64  where in the reversed text each document starts, and R
    bwt                       the symbols in front of the suffixes
    ends                      the rows whose n-grams end their document
    """

    alphabet: Ints
    first_rows: Ints
    suffixes: Ints
    starts: Ints
    bwt: WaveletMatrix
    ends: RankedBits

    @classmethod
    def build(cls, documents: Sequence[Ints]) -> "Segment":
        """An index of documents (tokens,), any of which may be empty; tokens must be at least 0."""
        D = len(documents)
        starts = np.concatenate([[0], np.cumsum([len(document) + 1 for document in documents])]).astype(np.int64)
        empty = np.empty(0, np.int64)
        alphabet, found = np.unique(
            np.concatenate([empty, *(document[::-1] for document in documents)]), return_inverse=True
        )
        text = np.empty(starts[-1], np.int64)
        is_token = np.ones(len(text), bool)
        is_token[starts[1:] - 1] = False
        text[starts[1:] - 1] = np.arange(D)  # each separator a symbol of its own, until the suffixes are sorted
        text[is_token] = found + D
        suffixes = suffix_array(text)
        symbols = np.maximum(text - (D - 1), 0)
        first_rows = np.concatenate([[0], np.cumsum(np.bincount(symbols, minlength=len(alphabet) + 1))])
        bwt = symbols[suffixes - 1]
        matrix = WaveletMatrix.build(bwt, len(alphabet) + 1)
        return cls(alphabet, first_rows, suffixes, starts, matrix, RankedBits.build(bwt == 0))

    @property
    def num_rows(self) -> int:
        """Tokens and separators."""
        return len(self.suffixes)

    @property
    def num_documents(self) -> int:
        """Documents, the empty ones included."""
        return len(self.starts) - 1

    def documents(self) -> list[Ints]:
        """The documents again, as they were given."""
        symbols = np.repeat(np.arange(len(self.alphabet) + 1), np.diff(self.first_rows))
        text = np.empty(self.num_rows, np.int64)
        text[self.suffixes] = symbols
        tokens = np.concatenate([[-1], self.alphabet])[text]
        pieces: list[Ints] = np.split(tokens, self.starts[1:-1])
        return [piece[-2::-1] for piece in pieces]

    def extend(self, tokens: Ints, bounds: Ints) -> Ints:
        """Row bounds of n-grams with one token more: `tokens` (E,) behind what has `bounds` (2, E), or (E,).

        For a token that no document holds, the row at which its suffixes would stand.
        """
        places = np.searchsorted(self.alphabet, tokens)
        known = places < len(self.alphabet)
        known[known] = self.alphabet[places[known]] == tokens[known]
        ranks = self.bwt.rank(np.where(known, places + 1, 0), bounds)
        rows: Ints = self.first_rows[places + 1] + np.where(known, ranks, 0)
        return rows

    def children(self, bounds: Ints) -> tuple[Ints, Ints, Ints]:
        """What stands behind n-grams of row bounds (2, N): owners (E,), tokens (E,), bounds (2, E) of the longer n-grams.

        Owners ascend, and so do the tokens of one owner.
        """
        owners, symbols, ranks = self.bwt.distinct(bounds)
        tokens = symbols > 0
        owners, symbols, ranks = owners[tokens], symbols[tokens], ranks[:, tokens]
        return owners, self.alphabet[symbols - 1], ranks + self.first_rows[symbols]

    def locate(self, rows: Ints) -> tuple[Ints, Ints]:
        """For each row: its document, and the offset behind the n-gram's last token."""
        positions = self.suffixes[rows].astype(np.int64)
        documents = np.searchsorted(self.starts, positions, side="right") - 1
        return documents, self.starts[documents + 1] - 1 - positions

    def rows_where(self, documents: Ints) -> Ints:
        """Mask (R,): rows whose suffix starts in one of the `documents`, a mask (D,); separators included."""
        rows: Ints = np.repeat(documents, np.diff(self.starts))[self.suffixes]
        return rows

    def rows_below(self, added: "Segment") -> Ints:
        """For each row of `added`: how many of this segment's rows stand below it, its documents counting as later ones.

        Backward search of all its documents at once, as in merging Burrows-Wheeler transforms (Sirén 2009, "Compressed
        suffix arrays for massive data"). One step a token of its longest document.
        """
        below = np.empty(added.num_rows, np.int64)
        separators = added.starts[1:] - 1
        lengths = np.diff(added.starts) - 1
        rows = np.full(added.num_documents, self.num_documents)
        below[separators] = rows
        texts = added.documents()
        text = np.concatenate([np.append(document[::-1], -1) for document in texts])
        for step in range(1, int(lengths.max(initial=0)) + 1):
            going = lengths >= step
            rows[going] = self.extend(text[separators[going] - step], rows[going])
            below[separators[going] - step] = rows[going]
        return below[added.suffixes]
