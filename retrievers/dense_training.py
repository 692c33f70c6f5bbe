"""Fine-tuning a dense encoder on training queries: in-batch negatives, mined hard negatives, false negatives masked.

One example is a passage with several of its queries, so that a passage goes through the network once for all of them. In a batch of
groups every query is ranked against

    the passages of all groups (in-batch negatives)  and  the `hard_negatives` that each group draws anew from its mined ones,

by the softmax over scaled cosines (InfoNCE: van den Oord et al. 2018, arXiv:1807.03748; in-batch and BM25 negatives: Karpukhin et al.
2020, arXiv:2004.04906; mined by the encoder itself: Xiong et al. 2021, arXiv:2007.00808, here once, before training).

Invariants: a passage that is relevant to a query is never its negative, in particular not its own passage under another doc_id or in
another group: passages are told apart by the tokens that the encoder sees. What is drawn depends on the step alone, as
`genir.training` seeds every step, so a resumed run draws the same.

Why not sentence-transformers' trainer: its ranking losses know the pairs of a batch but not the judgements, so other relevant
documents of a query count as wrong; it encodes a passage once a pair, with as many negatives for each, which is several times the work
where passages have several queries; and it does not resume bit for bit with the best weights kept, which `genir.training` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError, DataError, unknown_name
from genir.measures import parse_measure
from genir.objectives import TrainingBatch, weighted_mean
from genir.records import Document, Fields, Qrels, Query
from genir.training import Example, TrainingConfig
from retrievers.bi_encoder import BiEncoder
from retrievers.dense import check_fields
from retrievers.hard_negatives import interleave

Miner = Literal["bm25", "encoder"]


@dataclass(frozen=True)
class DenseTraining(TrainingConfig):
    """`genir.training.TrainingConfig` with defaults for an encoder; `batch_size` counts groups: a passage and its queries."""

    epochs: int = 4
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup: float = 0.1
    patience: int = 2


@dataclass(frozen=True)
class DenseConfig:
    """Everything that `genir train-dense --config FILE` may set. Unknown keys are refused."""

    encoder: str = DEFAULT_ENCODER
    passage_tokens: int = 192
    query_tokens: int = 64
    fields: Fields = "title+text"  # what a passage is of a document
    queries_per_passage: int = 8  # of one group
    hard_negatives: int = 2  # mined passages that a group adds to its batch; 0 for in-batch negatives only
    mined_by: tuple[Miner, ...] = ("bm25", "encoder")
    mining_depth: int = 10  # of each miner's ranking
    scale: float = 20.0  # cosines are multiplied by it: one over the temperature
    max_pairs: int = 0  # learn from training queries drawn at random, up to so many pairs; 0 for all
    pseudo_queries: int = 0  # a document, beside the training queries
    dev_queries: int = 500  # at most so many are searched at each evaluation
    dev_documents: int = 5000  # among so many documents: the relevant ones, those that BM25 confuses with them, others
    dev_measure: str = "nDCG@10"
    # Of the way from the encoder as it was (0) to the trained one (1): of those as good as the best on dev, but for noise, the least.
    shares: tuple[float, ...] = (1.0,)
    training: DenseTraining = field(default_factory=DenseTraining)
    device: str = "auto"

    def __post_init__(self) -> None:
        least_one = (self.queries_per_passage, self.mining_depth, self.dev_queries, self.dev_documents)
        texts = min(self.passage_tokens, self.query_tokens)
        if min(*least_one) < 1 or texts < 3 or min(self.hard_negatives, self.max_pairs, self.pseudo_queries) < 0:
            raise ConfigError(
                f"impossible settings: {self}; expected passage_tokens and query_tokens >= 3, hard_negatives, max_pairs and "
                "pseudo_queries >= 0, every other number >= 1"
            )
        if self.scale <= 0:
            raise ConfigError(f"scale is {self.scale}: expected a number above 0, e.g. 20")
        if 1.0 not in self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ConfigError(f"shares is {list(self.shares)}: expected numbers above 0 and up to 1, 1.0 among them")
        check_fields(self.fields)
        for miner in self.mined_by:
            if miner not in get_args(Miner):
                raise unknown_name("miner", miner, get_args(Miner))
        if self.hard_negatives and not self.mined_by:
            raise ConfigError(
                "hard_negatives without a miner: set mined_by to bm25, encoder or both, or hard_negatives to 0"
            )
        parse_measure(self.dev_measure)


@dataclass(frozen=True, slots=True)
class Group:
    """A passage, the queries it is right for (indices), and mined wrong passages to draw from, hardest first."""

    passage: int
    queries: tuple[int, ...]
    negatives: tuple[int, ...]


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised passages without repetition, tokenised queries, what is relevant to each, and the groups to learn from."""

    passages: Sequence[Sequence[int]]
    texts: Sequence[str]  # of the passages
    queries: Sequence[Sequence[int]]
    relevant: Sequence[frozenset[int]]  # passages, for every query
    groups: Sequence[Group]

    def examples(self) -> list[Example]:
        """One a group, for `genir.training.train`: the passage's text, and the group's index as the target."""
        return [Example(self.texts[group.passage], index, "passage") for index, group in enumerate(self.groups)]

    @property
    def pairs(self) -> int:
        """How many pairs of a query and a relevant passage there are to learn from."""
        return sum(len(group.queries) for group in self.groups)


def make_training_set(
    model: BiEncoder,
    corpus: Sequence[Document],
    queries: Sequence[Query],
    qrels: Qrels,
    mined: Mapping[str, Sequence[str]],
    config: DenseConfig,
) -> TrainingSet:
    """Groups of the (query, relevant document) pairs; `mined` maps a query_id to wrong doc_ids.

    Raises DataError where a query names a document that the corpus does not have, or where there is no pair at all.
    """
    passage_of, passages, texts = _distinct_passages(model, corpus)
    relevant: list[frozenset[int]] = []
    pairs: list[tuple[int, int]] = []
    for index, query in enumerate(queries):
        right = qrels.relevant(query.query_id)
        for doc_id in right:
            if doc_id not in passage_of:
                raise DataError(f"training query {query.query_id!r} names the document {doc_id!r}, which is unknown")
        relevant.append(frozenset(passage_of[doc_id] for doc_id in right))
        pairs += [(index, passage) for passage in dict.fromkeys(passage_of[doc_id] for doc_id in right)]
    if not pairs:
        raise DataError("nothing to train on: no training query has a relevant document; set pseudo_queries to 4, say")
    by_passage: dict[int, list[int]] = {}
    for index, passage in pairs:
        by_passage.setdefault(passage, []).append(index)
    wrong = [
        [p for p in dict.fromkeys(passage_of[doc_id] for doc_id in mined.get(query.query_id, ())) if p not in right]
        for query, right in zip(queries, relevant, strict=True)
    ]
    groups = []
    for passage, asked in by_passage.items():
        for part in _in_parts(asked, config.queries_per_passage):
            hardest_first = dict.fromkeys(interleave([wrong[index] for index in part]))
            groups.append(Group(passage, tuple(part), tuple(hardest_first)))
    return TrainingSet(passages, texts, model.tokenize_queries([query.text for query in queries]), relevant, groups)


class ContrastiveObjective:
    """The mean over a batch's queries of -log softmax(scale * cosine) of the right passage; a genir.objectives.Objective."""

    def __init__(self, model: BiEncoder, data: TrainingSet, scale: float = 20.0, hard_negatives: int = 2) -> None:
        self.model, self.data, self.scale, self.hard_negatives = model, data, scale, hard_negatives

    def loss(self, batch: TrainingBatch) -> Tensor:
        """The loss of the groups batch.targets (B,), whose passages are batch.input_ids (B, T) and whose weights batch.weights (B,)."""
        data = self.data
        groups = [data.groups[index] for index in batch.targets.tolist()]
        columns = [group.passage for group in groups]
        drawn = self._draw(groups)
        vectors = self.model.embed(batch.input_ids, batch.attention_mask)
        if drawn:
            vectors = torch.cat([vectors, self.model.embed_rows([data.passages[passage] for passage in drawn])])
        queries = [query for group in groups for query in group.queries]
        own = torch.tensor([column for column, group in enumerate(groups) for _ in group.queries])
        scores = self.scale * self.model.embed_rows([data.queries[query] for query in queries]) @ vectors.T
        masked = false_negatives([data.relevant[query] for query in queries], own, [*columns, *drawn])
        own, masked = own.to(scores.device), masked.to(scores.device)
        losses = F.cross_entropy(scores.float().masked_fill(masked, -torch.inf), own, reduction="none")
        return weighted_mean(losses, batch.weights[own])

    def _draw(self, groups: Sequence[Group]) -> list[int]:
        """At most `hard_negatives` of every group's mined passages, at random, those left out that the batch holds already."""
        held = {group.passage for group in groups}
        drawn: dict[int, None] = {}
        for group in groups:
            free = [passage for passage in group.negatives if passage not in held]
            for place in torch.randperm(len(free))[: self.hard_negatives].tolist():
                drawn[free[place]] = None
        return list(drawn)


def false_negatives(relevant: Sequence[frozenset[int]], own: Tensor, columns: Sequence[int]) -> Tensor:
    """Shape (Q, C) bool: the columns that are relevant to a query but not the one (own (Q,)) that it is trained to find.

    `columns` (C) are passages, some perhaps twice; `relevant` holds the passages that are right for each query.
    """
    places: dict[int, list[int]] = {}
    for column, passage in enumerate(columns):
        places.setdefault(passage, []).append(column)
    masked = torch.zeros(len(relevant), len(columns), dtype=torch.bool)
    for row, right in enumerate(relevant):
        for passage in right:
            masked[row, places.get(passage, [])] = True
    masked[torch.arange(len(relevant)), own] = False
    return masked


def _distinct_passages(
    model: BiEncoder, corpus: Sequence[Document]
) -> tuple[dict[str, int], list[list[int]], list[str]]:
    """doc_id -> passage, and the passages' tokens and texts; documents whose cut tokens are equal are one passage."""
    rows = model.tokenize([document.title_and_text for document in corpus])
    numbers: dict[tuple[int, ...], int] = {}
    passage_of = {
        document.doc_id: numbers.setdefault(tuple(row), len(numbers))
        for document, row in zip(corpus, rows, strict=True)
    }
    texts: dict[int, str] = {}
    for document in corpus:
        texts.setdefault(passage_of[document.doc_id], document.title_and_text)
    return passage_of, [list(row) for row in numbers], list(texts.values())


def _in_parts(items: Sequence[int], most: int) -> list[Sequence[int]]:
    """`items` in as few parts of at most `most` as there can be, of about one size."""
    count = -(-len(items) // most)
    return [items[len(items) * part // count : len(items) * (part + 1) // count] for part in range(count)]
