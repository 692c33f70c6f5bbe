"""Product quantisation of embeddings (PQ; Jégou et al. 2011): D dimensions cut into L parts, each with C centroids.

A code per part; as identifiers, Zhou et al. 2022 (Ultron). Every centroid, padded with zeros to D and turned back
where the space was rotated, is a row of the table's codebooks (L, C, D), so that here too a document is nearly the sum
of its codebook vectors and `code_decoder` starts as the quantised dense index.

Unlike residual codes, no level refines the one before: all parts are equals, and a prefix knows nothing of the other
parts. `rotation` decides which directions a part holds: "none" takes the dimensions as they come; "pca" takes the
principal axes in order, so that the first level holds the directions that vary most and prefixes mean most; "opq"
deals the principal axes out to parts of equal variance (OPQ, Ge et al. 2013, "eigenvalue allocation"), then
alternates between codes and the rotation that suits them best (the same, "non-parametric"), which reconstructs best.

On 2,067 SQuAD passages, 8 x 256, dev questions, the three reach Success@1 / R@10 of .27 / .73, .34 / .72 and .41 / .81 when
everything is scored by reconstruction, but .26 / .70, .37 / .73 and .29 / .57 with 50 beams over prefix sums (400
questions): parts of equal weight reconstruct best and are pruned worst, as their neighbours' agreement in the first
token says (.41, .46 and .19). Residual codes are far ahead of all (`docids.residual`).

Known gap: with no more than C distinct documents every level tells all of them apart, and no prefix is shared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from docids.clustering import kmeans
from docids.distinct import check_room, make_distinct
from docids.residual import Quantisation, mean_cosine
from docids.table import DocIDTable, doc_ids_of, level_tokens
from docids.vectors import checked_vectors, corpus_vectors, encoder_settings
from genir.embedding import TextEncoder
from genir.errors import ConfigError, unknown_name
from genir.records import Document

Rotation = Literal["none", "pca", "opq"]
_ROTATIONS = ("none", "pca", "opq")


def product_quantise(
    vectors: np.ndarray,
    levels: int,
    codes: int,
    seed: int = 0,
    iterations: int = 25,
    rotation: Rotation = "none",
    sweeps: int = 8,
) -> Quantisation:
    """Product quantisation of `vectors` (N, D), N from one upwards; `sweeps` of OPQ's alternation.

    The parts are as equal as D allows. Raises ConfigError where D is less than `levels`, or for an unknown rotation.
    """
    vectors = checked_vectors(vectors)
    width = vectors.shape[1]
    if levels > width:
        raise ConfigError(f"{levels} levels cut embeddings of {width} dimensions into nothing; lower levels")
    if rotation not in _ROTATIONS:
        raise unknown_name("rotation", rotation, _ROTATIONS)
    turn = np.eye(width, dtype=np.float32)
    if rotation != "none":
        variances, turn = principal_axes(vectors)
        turn = turn[:, _dealt(variances, levels)] if rotation == "opq" else turn
    quantised = _quantise_parts(vectors @ turn, levels, codes, seed, iterations)
    for _ in range(sweeps if rotation == "opq" else 0):
        turn = _best_turn(vectors, quantised.reconstruct())
        quantised = _quantise_parts(vectors @ turn, levels, codes, seed, iterations)
    return Quantisation(quantised.codes, np.ascontiguousarray(quantised.codebooks @ turn.T))


def principal_axes(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances (D,) of `vectors` (N, D) along their principal axes, largest first, and the axes, columns of (D, D)."""
    covariance = np.cov(vectors, rowvar=False, bias=True).reshape(vectors.shape[1], -1)
    variances, axes = np.linalg.eigh(covariance)
    return variances[::-1], np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)


def _dealt(variances: np.ndarray, levels: int) -> np.ndarray:
    """An order (D,) of the axes that gives all parts about the same product of variances.

    Each axis, largest variance first, goes to the part with room whose product is least so far.
    """
    room = [len(part) for part in np.array_split(variances, levels)]
    parts: list[list[int]] = [[] for _ in room]
    logs = np.zeros(levels)
    for axis, log in enumerate(np.log(np.maximum(variances, 1e-12) / max(variances.min(), 1e-12))):
        part = min((level for level in range(levels) if len(parts[level]) < room[level]), key=lambda level: logs[level])
        parts[part].append(axis)
        logs[part] += log
    return np.array([axis for part in parts for axis in part])


def _best_turn(vectors: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The orthogonal R (D, D) with the least |vectors @ R - wanted|^2 (Schönemann 1966)."""
    left, _, right = np.linalg.svd(vectors.T.astype(np.float64) @ wanted)
    return np.ascontiguousarray(left @ right, dtype=np.float32)


def _quantise_parts(vectors: np.ndarray, levels: int, codes: int, seed: int, iterations: int) -> Quantisation:
    """k-means in every part of the dimensions by itself; codebooks (L, C, D) are zero outside their part."""
    chosen = np.zeros((len(vectors), levels), dtype=np.int64)
    codebooks = np.zeros((levels, codes, vectors.shape[1]), dtype=np.float32)
    for level, part in enumerate(np.array_split(np.arange(vectors.shape[1]), levels)):
        centroids, labels = kmeans(np.ascontiguousarray(vectors[:, part]), codes, seed + level, iterations)
        codebooks[level, : len(centroids), part[0] : part[-1] + 1] = centroids
        chosen[:, level] = labels
    return Quantisation(chosen, codebooks)


@dataclass
class ProductScheme:
    """`levels` codes of `codes` each over the embeddings of titles and texts.

    `distinct` gives documents that fell together the nearest free codes (`docids.distinct`); without it they share an
    identifier. The table's facts say how many were moved and how well the codes reconstruct.
    """

    levels: int = 8
    codes: int = 256
    seed: int = 0
    rotation: Rotation = "pca"
    distinct: bool = True
    iterations: int = 25
    encoder: TextEncoder = field(default_factory=TextEncoder)
    name: str = field(default="product", init=False)

    def __post_init__(self) -> None:
        check_room(1, self.levels, self.codes)
        if self.rotation not in _ROTATIONS:
            raise unknown_name("rotation", self.rotation, _ROTATIONS)

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Identifiers with tokens level * codes + code, and their codebooks.

        Raises DataError for a bad corpus and ConfigError for too many levels for the embeddings, and for too few codes
        where `distinct` is asked for.
        """
        doc_ids = doc_ids_of(corpus)
        check_room(len(doc_ids) if self.distinct else 1, self.levels, self.codes)
        vectors = corpus_vectors(corpus, self.encoder)
        quantised = product_quantise(vectors, self.levels, self.codes, self.seed, self.iterations, self.rotation)
        moved = 0
        if self.distinct:
            codes, moved = make_distinct(vectors, quantised.codes, quantised.codebooks)
            quantised = Quantisation(codes, quantised.codebooks)
        return DocIDTable(
            self.name,
            {doc_id: level_tokens(row, self.codes) for doc_id, row in zip(doc_ids, quantised.codes, strict=True)},
            vocab_size=self.levels * self.codes,
            codebooks=quantised.codebooks,
            settings={
                "levels": self.levels,
                "codes": self.codes,
                "seed": self.seed,
                "rotation": self.rotation,
                "distinct": self.distinct,
                "iterations": self.iterations,
                **encoder_settings(self.encoder),
            },
            codes_per_level=self.codes,
            facts={"moved": moved, "mean_cosine": mean_cosine(vectors, quantised.reconstruct())},
        )
