"""Identifiers that follow the model: codes assigned anew by the present encoder, balanced, distinct, few at a time.

The ids' side of identifiers learned end to end (GenRet, Sun et al. 2023, arXiv:2304.04171): the model's side is
`genir.reconstruction`, the rounds of both `experiments.training.learned_identifiers`. Codes change here alone, between two rounds
of training, by assignment: no gradient passes through it. A document's codes are changed one level
after the other, with the other levels held, so that all prefixes from that level on rebuild its vector better.

1. Balance. No code of a re-assigned level takes more than slack * N / C documents, or, where it holds more already,
   than `shrink` times those. GenRet balances by Sinkhorn's algorithm, whose rounding promises no limit; here codes and
   documents choose each other by deferred acceptance (Gale and Shapley 1962): every code keeps its nearest documents
   up to its capacity, the others ask their next nearest code, and in the end no document and no code would both rather
   have each other.
2. Revival. A code that nothing uses takes the place of a badly rebuilt document, drawn by its error (seeded).
3. Distinctness. No more documents of one prefix may choose a code than there are identifiers behind it (one, at the
   last level). Whom every code refuses keeps its present one, and goes to `docids.distinct`, which knows no capacities.
4. Codebooks move towards the documents that chose them, drawn to what the model has learned (ridge).

How hard to balance: residual codes of 2,067 SQuAD passages, 8 x 256, hold up to 559 documents below the first level
(balance .59 to .75; the first, .96). Assigned anew by the very encoder that they were made with, 2 % of the documents
change and ranking by reconstruction stays (RR@10 of 261 dev queries .721, before and after); with shrink = .9, 30 % and
.699; forced under 8 N / C, 88 % and .692; under 2 N / C, 98 % and .585. So balance is kept by default, not forced.

Invariants: levels before `fixed` keep their codes (GenRet's progressive training fixes prefixes first), but for
documents that `docids.distinct` must part; the same arguments give the same result. Known gap: costs (N, C) are held
in memory, a gigabyte or three for a million documents and 256 codes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from docids.distinct import check_room, make_distinct
from docids.residual import Quantisation, mean_cosine, refit_codebooks
from docids.table import DocIDTable, level_tokens
from docids.vectors import checked_vectors
from genir.errors import ArtefactError, ConfigError

NAME = "learned"


@dataclass(frozen=True)
class Reassignment:
    """How codes are assigned anew.

    A code holds at most slack * N / C documents, or `shrink` times as many as it holds, if that is more: 1 lets no code
    above the first limit grow, 0 forces all below it. A document keeps its code unless another one's squared error is
    lower by the share `inertia`. `ridge` counts in documents: a codebook vector with n documents moves n / (n + ridge)
    of the way to where they want it. `fixed` levels at the front keep their codes.
    """

    slack: float = 2.0
    shrink: float = 1.0
    inertia: float = 0.1
    ridge: float = 32.0
    fixed: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        shares = (self.shrink, self.inertia)
        if self.slack < 1 or min(shares) < 0 or max(shares) > 1 or self.ridge <= 0 or self.fixed < 0:
            raise ConfigError(
                f"impossible re-assignment: {self}; expected slack >= 1, shrink and inertia in 0..1, ridge > 0, fixed >= 0"
            )

    def capacities(self, counts: np.ndarray) -> np.ndarray:
        """The most documents that every code may hold at a level where they hold `counts` (C,) now."""
        limit = math.ceil(self.slack * counts.sum() / len(counts))
        return np.asarray(np.maximum(limit, np.floor(self.shrink * counts).astype(np.int64)))


@dataclass(frozen=True, eq=False)
class Reassigned:
    """New codes and codebooks, and what it took: documents whose identifier changed, codes revived, documents that
    `make_distinct` had to move."""

    quantised: Quantisation
    changed: int
    revived: int
    moved: int


def choose_codes(
    costs: np.ndarray, capacity: np.ndarray, groups: np.ndarray | None = None, room: int = 1
) -> np.ndarray:
    """A code (N,) for every row of `costs` (N, C), at most `capacity` (C,) rows a code, by deferred acceptance.

    With `groups` (N,), at most `room` rows of one group share a code. A row that every code refused gets -1.
    """
    N, C = costs.shape
    wishes = np.argsort(costs, axis=1, kind="stable")
    asked = np.zeros(N, dtype=np.int64)  # how many codes have refused a row
    labels = np.full(N, -1, dtype=np.int64)
    free = np.arange(N)
    while free.size:
        labels[free] = wishes[free, asked[free]]
        refused = _refused(labels, costs, capacity, groups, room)
        labels[refused] = -1
        asked[refused] += 1
        free = refused[asked[refused] < C]
    return labels


def _refused(
    labels: np.ndarray, costs: np.ndarray, capacity: np.ndarray, groups: np.ndarray | None, room: int
) -> np.ndarray:
    """The rows that their codes do not keep: beyond the room for their group, or beyond the capacity."""
    rows = np.flatnonzero(labels >= 0)
    rows = rows[np.argsort(costs[rows, labels[rows]], kind="stable")]
    crowded = rows[:0]
    if groups is not None:
        beyond = _places(labels[rows] * (int(groups.max()) + 1) + groups[rows]) >= room
        crowded, rows = rows[beyond], rows[~beyond]
    return np.concatenate([crowded, rows[_places(labels[rows]) >= capacity[labels[rows]]]])


def _places(keys: np.ndarray) -> np.ndarray:
    """For every row how many before it have the same key."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    places = np.empty(len(keys), dtype=np.int64)
    places[order] = np.arange(len(keys)) - np.searchsorted(ordered, ordered, side="left")
    return places


def reassign(vectors: np.ndarray, present: Quantisation, how: Reassignment = Reassignment()) -> Reassigned:
    """Codes and codebooks for `vectors` (N, D), by the present encoder, that start from `present`.

    Raises DataError for vectors that are not finite or of another shape, ConfigError where C ** L < N.
    """
    vectors = checked_vectors(vectors)
    levels, size, width = present.codebooks.shape
    if (len(vectors), levels) != present.codes.shape or vectors.shape[1] != width:
        raise ConfigError(
            f"vectors of shape {vectors.shape} do not fit codes of shape {present.codes.shape} and codebooks of shape "
            f"{present.codebooks.shape}: the same documents by the same encoder are needed"
        )
    check_room(len(vectors), levels, size)
    codes, books = present.codes.copy(), present.codebooks.astype(np.float32, copy=True)
    rng, revived = np.random.default_rng(how.seed), 0
    for level in range(how.fixed, levels):
        wanted = _wanted(vectors, codes, books, level)
        chosen = _choose_at_level(wanted, codes, books, level, how)
        woken = _revive(wanted, chosen, books[level], rng)
        if woken:
            revived += woken
            chosen = _choose_at_level(wanted, codes, books, level, how)
        codes[:, level] = chosen
    codes, moved = make_distinct(vectors, codes, books)
    quantised = refit_codebooks(vectors, Quantisation(codes, books), ridge=how.ridge)
    return Reassigned(quantised, int((codes != present.codes).any(axis=1).sum()), revived, moved)


def _wanted(vectors: np.ndarray, codes: np.ndarray, books: np.ndarray, level: int) -> np.ndarray:
    """Shape (N, D): where every document wants its codebook vector of `level` to be, the other levels held.

    sum over m >= level of |x - P_m|^2, P_m being the sum of the first m levels' vectors, is least for the code that is
    nearest to the mean over m of what P_m without `level` leaves of x.
    """
    rest = vectors - sum((books[i][codes[:, i]] for i in range(level)), np.zeros_like(vectors))
    total = rest.copy()
    for later in range(level + 1, len(books)):
        rest = rest - books[later][codes[:, later]]
        total += rest
    return np.asarray(total / (len(books) - level))


def _choose_at_level(
    wanted: np.ndarray, codes: np.ndarray, books: np.ndarray, level: int, how: Reassignment
) -> np.ndarray:
    """A code (N,) for every document; those that nothing would have keep their present one, for `make_distinct`."""
    N, (levels, size, _) = len(wanted), books.shape
    costs = _squared_distances(wanted, books[level])
    costs[np.arange(N), codes[:, level]] *= 1 - how.inertia
    capacity = how.capacities(np.bincount(codes[:, level], minlength=size))
    room, groups = size ** (levels - level - 1), None
    if room < capacity.max():  # under one prefix there may be more documents than identifiers
        groups = np.unique(codes[:, :level], axis=0, return_inverse=True)[1].reshape(-1)
    chosen = choose_codes(costs, capacity, groups, room)
    return np.where(chosen < 0, codes[:, level], chosen)


def _squared_distances(rows: np.ndarray, book: np.ndarray) -> np.ndarray:
    products = rows @ book.T
    squares = (rows**2).sum(axis=1)[:, None] - 2 * products + (book**2).sum(axis=1)
    return np.asarray(np.maximum(squares, 0.0))


def _revive(wanted: np.ndarray, chosen: np.ndarray, book: np.ndarray, rng: np.random.Generator) -> int:
    """Set codebook vectors (in place) that nothing chose to what badly rebuilt documents want; returns how many.

    Documents are drawn without replacement, by their squared error, from codes that hold more than one.
    """
    counts = np.bincount(chosen, minlength=len(book))
    dead = np.flatnonzero(counts == 0)
    errors = ((wanted - book[chosen]) ** 2).sum(axis=1).astype(np.float64)
    errors[(counts[chosen] < 2) | (errors < 1e-12)] = 0.0
    number = min(len(dead), int((errors > 0).sum()))
    if number:
        donors = rng.choice(len(wanted), size=number, replace=False, p=errors / errors.sum())
        book[dead[:number]] = wanted[donors]
    return number


def codes_of(table: DocIDTable) -> np.ndarray:
    """A table's codes (N, L) int64, in the order of its documents.

    Raises ArtefactError for a table whose identifiers are no sums of codebook vectors: they cannot be learned.
    """
    if table.codebooks is None or table.codes_per_level is None:
        raise ArtefactError(
            f"{table.scheme} identifiers have no codebooks, so a model cannot learn them; start from "
            "`genir docids build --scheme residual`"
        )
    tokens = np.array(list(table.tokens.values()), dtype=np.int64)
    return tokens - np.arange(tokens.shape[1]) * table.codes_per_level


def reassigned_table(
    table: DocIDTable,
    vectors: np.ndarray,
    codebooks: np.ndarray,
    how: Reassignment = Reassignment(),
    settings: Mapping[str, object] | None = None,
) -> tuple[DocIDTable, Reassigned]:
    """The table after one re-assignment, by document vectors (N, D) and codebooks (L, C, D) of the present model.

    Raises what `codes_of` and `reassign` do; vectors that are not finite are named by their document.
    """
    present = Quantisation(codes_of(table), codebooks)
    made = reassign(checked_vectors(vectors, list(table.tokens)), present, how)
    facts = {
        "changed": made.changed,
        "revived": made.revived,
        "moved": made.moved,
        "mean_cosine": mean_cosine(vectors, made.quantised.reconstruct()),
    }
    return _with_codes(table, made.quantised, facts, settings or {}), made


def _with_codes(
    table: DocIDTable, quantised: Quantisation, facts: Mapping[str, object], settings: Mapping[str, object]
) -> DocIDTable:
    size = quantised.codebooks.shape[1]
    start = table.settings if table.scheme == NAME else {"start": {"scheme": table.scheme, **table.settings}}
    return replace(
        table,
        scheme=NAME,
        tokens=_tokens(list(table.tokens), quantised.codes, size),
        codebooks=quantised.codebooks,
        settings={**start, **settings},
        facts=facts,
    )


def _tokens(doc_ids: Sequence[str], codes: np.ndarray, size: int) -> dict[str, tuple[int, ...]]:
    return {doc_id: level_tokens(row, size) for doc_id, row in zip(doc_ids, codes, strict=True)}
