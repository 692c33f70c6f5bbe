"""An FM-index over a corpus: every n-gram of its documents is an identifier, wherever it starts and ends.

What SEAL searches in (Bevilacqua et al. 2022, "Autoregressive Search Engines", arXiv 2204.10628): a beam is a range of
rows of the suffix array, its continuations are what stands in the range, its documents are found from the rows.

A node is one int64: first row << 32 | row behind the last << 1 | whether anything goes on behind the n-gram. Row 0 is a
separator's, so only the start begins there. Node 0 is an empty range. `leaf` is the node itself, so that what a search
returns can be asked for its documents; two n-grams share a node where every occurrence of one is an end of the other.

Updates share what is there. Deleted documents keep their rows, and each question counts the live ones. Added documents
are a segment of their own; what is added later and is at least as large takes it up, so that there are about log2(added
tokens) segments at most, and a question costs what it costs in each. Documents are numbered from 0 in the order in
which they come; no number is given twice.

Invariants: immutable; no n-gram runs from one document into another; no deleted document is counted, located, or keeps
a continuation alive. Known gaps: arrays are numpy on the CPU, and nodes on another device are fetched and sent back;
fewer than 2^31 rows (tokens and documents); rows of deleted documents take room until the index is built again; adding
costs a walk of one step a token of the longest new document, which for a thousand long ones is more than half a build.

Why no library: fm-index 4.0 takes strings and shows no row ranges, wavelet-matrix 4.0 answers one range a call and in
Python objects, and SEAL's own binding of sdsl is archived and must be compiled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genir.constraints.sealed_file import read_sealed, write_sealed
from genir.constraints.segments import Part, Segments
from genir.errors import DataError

Ints = np.ndarray[Any, Any]
_KIND, _VERSION = "FM-index", 1
_MOST_ROWS = (1 << 31) - 1
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True, eq=False)
class FMIndex:
    """All n-grams of a corpus, and no others; implements genir.protocols.Constraint. Make one with `build` or `load`."""

    segments: Segments
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def build(cls, documents: Sequence[Sequence[int]]) -> "FMIndex":
        """An index of documents, numbered from 0: 2 to 3 seconds for 3.3 million tokens of 27,000 kinds.

        Empty documents are legal. Raises DataError for a negative token, no token at all, and 2^31 rows or more.
        """
        arrays = _as_arrays(documents, 0)
        if not any(map(len, arrays)):
            raise DataError("no tokens: an FM-index needs at least one document with a token")
        return cls(Segments.build(arrays))

    # --- a constraint -------------------------------------------------------------------------------------------------

    def start(self, size: int) -> Tensor:
        """Shape (size,), int64: the node in front of every n-gram, once for each beam."""
        pieces = self.segments.split(np.array([[0], [self.num_rows]]))
        return torch.full((size,), int(self._nodes(pieces)[0]), device=self.device)

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Legal continuations of nodes (N,): tokens (N, F), child nodes (N, F), mask (N, F); see `Constraint`."""
        distinct, inverse = np.unique(nodes.cpu().numpy(), return_inverse=True)
        owners, tokens, pieces = self.segments.children(_bounds(distinct))
        fan_out = np.bincount(owners, minlength=len(distinct))
        shape = len(distinct), max(int(fan_out.max(initial=0)), 1)
        columns = np.arange(len(owners)) - (np.cumsum(fan_out) - fan_out)[owners]
        rows = torch.from_numpy(inverse)

        def padded(values: Ints) -> Tensor:
            grid = np.zeros(shape, values.dtype)
            grid[owners, columns] = values
            return torch.from_numpy(grid)[rows].to(self.device)

        return padded(tokens), padded(self._nodes(pieces)), padded(np.ones(len(owners), bool))

    def leaf(self, nodes: Tensor) -> Tensor:
        """Same shape as `nodes`, int64: the node itself, for every n-gram is an identifier; -1 at the start."""
        return torch.where(nodes >> 32 > 0, nodes, -1)

    def continues(self, nodes: Tensor) -> Tensor:
        """Same shape as `nodes`, bool: whether a token stands behind the n-gram in any live document."""
        return (nodes & 1).bool()

    def settled(self, nodes: Tensor) -> Tensor:
        """Same shape as `nodes`, bool: never, for an n-gram may end at any of its tokens."""
        return torch.zeros_like(nodes, dtype=torch.bool)

    # --- questions ----------------------------------------------------------------------------------------------------

    def find(self, ngram: Sequence[int]) -> int:
        """The node of an n-gram, 0 where no live document holds it. Raises DataError for an empty one."""
        if not len(ngram):
            raise DataError("an empty n-gram: it needs at least one token")
        tokens = [int(token) for token in ngram]
        if not all(0 <= token <= _LARGEST for token in tokens):
            return 0
        pieces = self.segments.find(np.array(tokens))
        return int(self._nodes(pieces)[0]) if self.segments.count(pieces)[0] else 0

    def counts(self, nodes: Tensor) -> Tensor:
        """Same shape as `nodes`, int64: occurrences in live documents."""
        found = self.segments.count(self.segments.split(_bounds(nodes.cpu().numpy().ravel())))
        return torch.from_numpy(found).view(nodes.shape).to(nodes.device)

    def count(self, ngram: Sequence[int]) -> int:
        """Occurrences of an n-gram in live documents, those that overlap included."""
        return int(self.counts(torch.tensor([self.find(ngram)])))

    def document_count(self, ngram: Sequence[int]) -> int:
        """Live documents that hold an n-gram."""
        return len(self.documents(torch.tensor([self.find(ngram)]))[1])

    def locate(self, ngram: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Every occurrence of an n-gram: document numbers (E,) and offsets of its first token (E,), in ascending order."""
        _, documents, ends = self.occurrences(torch.tensor([self.find(ngram)]))
        return documents, ends - len(ngram)

    def occurrences(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every occurrence of nodes (N,): places in `nodes` (E,), document numbers (E,), offsets behind the last token (E,).

        In ascending order, on the CPU.
        """
        pieces = []
        split = self.segments.split(_bounds(nodes.cpu().numpy()))
        for part, bounds in zip(self.segments.parts, split, strict=True):
            sizes = bounds[1] - bounds[0]
            owners = np.repeat(np.arange(len(sizes)), sizes)
            rows = np.arange(len(owners)) + np.repeat(bounds[0] - (np.cumsum(sizes) - sizes), sizes)
            if part.live is not None:
                alive = part.live[rows]
                owners, rows = owners[alive], rows[alive]
            documents, ends = part.segment.locate(rows)
            pieces.append(np.stack([owners, documents + part.first_document, ends]))
        found = np.concatenate(pieces, 1)
        # One sort of one number: an offset stays below the rows, and so does a document.
        found = found[:, np.argsort(found[1] * self.num_rows + found[2])]
        owners, documents, ends = torch.from_numpy(found[:, np.argsort(found[0], kind="stable")])
        return owners, documents, ends

    def documents(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct documents of nodes (N,): places in `nodes` (E,), and document numbers (E,), in ascending order."""
        owners, documents, _ = self.occurrences(nodes)
        pairs = torch.unique_consecutive(torch.stack([owners, documents]), dim=1)
        return pairs[0], pairs[1]

    # --- updates ------------------------------------------------------------------------------------------------------

    def with_documents(self, documents: Sequence[Sequence[int]]) -> "FMIndex":
        """An index that holds more documents, numbered from `next_document` on; shares the segments that are there.

        Raises DataError for a negative token, and for 2^31 rows or more.
        """
        arrays = _as_arrays(documents, self.num_rows)
        return replace(self, segments=self.segments.with_documents(arrays)) if arrays else self

    def without_documents(self, numbers: Sequence[int]) -> "FMIndex":
        """An index in which these documents are deleted; shares all segments.

        Raises DataError for a number that no live document has.
        """
        dead = self.segments.dead
        gone = np.zeros(len(dead), bool)
        for number in numbers:
            if not 0 <= number < len(gone) or dead[number]:
                raise DataError(
                    f"document {number} is not in the index, which has {self.num_documents} of {len(gone)} documents left; "
                    "give numbers of documents that were added and not deleted"
                )
            gone[number] = True
        return replace(self, segments=self.segments.without_documents(gone))

    def save(self, path: Path) -> None:
        """Write one file, atomically, with a checksum."""
        parts = self.segments.parts
        arrays = {f"{i}.{name}": array for i, part in enumerate(parts) for name, array in part.arrays().items()}
        # torch counts with signed words only
        signed = {name: array.view("<i8") if array.dtype == np.uint64 else array for name, array in arrays.items()}
        tensors = {name: torch.from_numpy(array) for name, array in signed.items()}
        write_sealed(path, _KIND, _VERSION, tensors, {"parts": len(parts)})

    @classmethod
    def load(cls, path: Path) -> "FMIndex":
        """Read what `save` wrote, memory-mapped. Raises ArtefactError for a missing, cut or changed file."""
        tensors, facts = read_sealed(path, _KIND, _VERSION)
        parts: list[Part] = []
        for i in range(facts["parts"]):
            arrays = {
                name.removeprefix(f"{i}."): tensor.numpy()
                for name, tensor in tensors.items()
                if name.startswith(f"{i}.")
            }
            parts.append(Part.of(arrays, parts[-1].next_document if parts else 0))
        return cls(Segments(tuple(parts)))

    def to(self, device: torch.device | str) -> "FMIndex":
        """The same index for beams on another device; the arrays stay where they are."""
        return replace(self, device=torch.device(device))

    @property
    def next_document(self) -> int:
        """The number that the next document will have; deleted ones keep theirs."""
        return self.segments.parts[-1].next_document

    @property
    def num_documents(self) -> int:
        """Live documents."""
        return int((~self.segments.dead).sum())

    @property
    def num_rows(self) -> int:
        """Tokens and documents, the deleted ones included."""
        return self.segments.num_rows

    @property
    def num_tokens(self) -> int:
        """Tokens of live documents."""
        return sum(int((np.diff(part.segment.starts) - 1)[~part.dead].sum()) for part in self.segments.parts)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(part.nbytes for part in self.segments.parts)

    def _nodes(self, pieces: Sequence[Ints]) -> Ints:
        """Nodes (N,) of ranges that fall apart into these pieces."""
        bounds = reduce(add, pieces)
        nodes: Ints = bounds[0] << 32 | bounds[1] << 1 | self.segments.go_on(pieces)
        return nodes


def _bounds(nodes: Ints) -> Ints:
    """Row ranges (2, N) of nodes (N,)."""
    return np.stack([nodes >> 32, (nodes & 0xFFFFFFFF) >> 1])


def _as_arrays(documents: Sequence[Sequence[int]], rows: int) -> list[Ints]:
    """The documents as int64; raises DataError for what an index with `rows` rows cannot take."""
    arrays = []
    for number, document in enumerate(documents):
        array = np.asarray(document) if len(document) else np.empty(0, np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu" or array.max(initial=0) > _LARGEST:
            raise DataError(f"document {number} is no list of tokens: expected whole numbers from 0 to 2^63 - 1")
        if array.min(initial=0) < 0:
            raise DataError(f"document {number} holds the negative token {int(array.min())}; tokens start at 0")
        arrays.append(array.astype(np.int64))
    rows += sum(map(len, arrays)) + len(arrays)
    if rows > _MOST_ROWS:
        raise DataError(f"{rows} tokens and documents: an FM-index takes at most {_MOST_ROWS}; split the corpus")
    return arrays
