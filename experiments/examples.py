"""What a model is trained on, and what it is measured on while it learns.

Invariant: nothing of the dev or test split is learnt from. A data set without a dev split is measured on pseudo-queries that are
held out of training.
"""

from dataclasses import dataclass, field

from docids.table import DocIDTable
from genir.errors import ConfigError, DataError
from genir.pseudo_queries import PseudoQueryConfig, make_pseudo_queries
from genir.records import Dataset, Qrels, Query
from genir.training import Example


@dataclass(frozen=True)
class ExamplesConfig:
    """What to learn from: judged training queries (retrieval), and texts made of the documents themselves (indexing).

    A weight of 0 leaves its kind of text out.
    """

    queries: bool = True
    query_weight: float = 1.0
    passages: int = 1  # a document, from its beginning on
    passage_words: int = 48
    passage_weight: float = 0.5
    pseudo_query_weight: float = 0.5
    pseudo_queries: PseudoQueryConfig = field(default_factory=PseudoQueryConfig)

    def __post_init__(self) -> None:
        least = min(
            self.passages, self.passage_words - 1, self.query_weight, self.passage_weight, self.pseudo_query_weight
        )
        if least < 0:
            raise ConfigError(f"impossible examples: {self}; expected passage_words >= 1, and nothing below 0")


@dataclass(frozen=True)
class DevSet:
    """Queries to measure training on, and what they should find."""

    name: str
    queries: tuple[Query, ...]
    qrels: Qrels


def make_examples(
    dataset: Dataset, table: DocIDTable, settings: ExamplesConfig, dev_queries: int
) -> tuple[list[Example], DevSet]:
    """Training examples of every kind asked for, and the dev set. Raises DataError where nothing is left to learn from."""
    target_of = {tokens: index for index, tokens in enumerate(table.identifiers())}
    targets = {document.doc_id: target_of[table.tokens_of(document.doc_id)] for document in dataset.corpus}
    examples: list[Example] = []
    if settings.queries and "train" in dataset.qrels:
        qrels = dataset.qrels["train"]
        examples += [
            Example(query.text, targets[doc_id], "query", settings.query_weight)
            for query in dataset.split("train")
            for doc_id in qrels.relevant(query.query_id)
        ]
    for document in dataset.corpus:
        words = document.title_and_text.split()
        for start in range(0, min(len(words), settings.passages * settings.passage_words), settings.passage_words):
            text = " ".join(words[start : start + settings.passage_words])
            examples.append(Example(text, targets[document.doc_id], "passage", settings.passage_weight))
    pseudo = make_pseudo_queries(dataset.corpus, settings.pseudo_queries)
    dev = _judged_dev(dataset, dev_queries)
    if dev is None:  # every tenth pseudo-query is kept from training
        held = pseudo[::10][:dev_queries] or pseudo[:1]
        kept = set(map(id, held))
        pseudo = [one for one in pseudo if id(one) not in kept] or pseudo
        queries = tuple(Query(f"pseudo-{i}", one.text) for i, one in enumerate(held))
        qrels = Qrels({query.query_id: {one.doc_id: 1} for query, one in zip(queries, held, strict=True)})
        dev = DevSet("held-out pseudo-queries", queries, qrels)
    examples += [Example(one.text, targets[one.doc_id], "pseudo", settings.pseudo_query_weight) for one in pseudo]
    examples = [example for example in examples if example.weight > 0]
    if not examples:
        raise DataError(f"{dataset.name}: nothing to learn from: no training queries, passages or pseudo-queries")
    return examples, dev


def _judged_dev(dataset: Dataset, most: int) -> DevSet | None:
    if not dataset.qrels.get("dev"):
        return None
    queries = dataset.split("dev")
    step = max(1, len(queries) // most)
    chosen = queries[::step][:most]
    judged = {query.query_id: dataset.qrels["dev"].judgements[query.query_id] for query in chosen}
    return DevSet("dev", chosen, Qrels(judged))
