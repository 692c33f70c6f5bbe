"""What a model is trained on, and what it is measured on while it learns.

Invariant: nothing of the dev or test split is learnt from. A data set without a dev split is measured on pseudo-queries that are
held out of training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from docids.table import DocIDTable
from experiments.training.material import ConsistencyConfig, GeneratorConfig
from genir.errors import ConfigError, DataError
from genir.pseudo_queries import PseudoQuery, PseudoQueryConfig, make_pseudo_queries
from genir.records import Dataset, Document, Qrels, Query
from genir.sampling import spread
from genir.training import Example

KINDS = ("query", "first", "passage", "title", "pseudo", "generated")


@dataclass(frozen=True)
class ExamplesConfig:
    """What to learn from: judged training queries (retrieval), and texts made of the documents themselves (indexing).

    A weight of 0 leaves its kind of text out. The views of a document: its beginning (FirstP), `passages` windows of
    `passage_words`, one every `passage_stride` words (0: side by side), and its title.
    """

    queries: bool = True
    query_weight: float = 1.0
    first_words: int = 48
    first_weight: float = 0.0
    passages: int = 1  # at most so many, from the beginning on
    passage_words: int = 48
    passage_stride: int = 0
    passage_weight: float = 0.5
    title_weight: float = 0.0
    pseudo_query_weight: float = 0.5
    pseudo_queries: PseudoQueryConfig = field(default_factory=PseudoQueryConfig)
    generated_weight: float = 0.5
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)

    def __post_init__(self) -> None:
        counts = (self.passages, self.passage_words - 1, self.passage_stride, self.first_words - 1)
        weights = (self.query_weight, self.first_weight, self.passage_weight, self.title_weight)
        if min(*counts, *weights, self.pseudo_query_weight, self.generated_weight) < 0:
            raise ConfigError(
                f"impossible examples: {self}; expected passage_words and first_words >= 1, and nothing below 0"
            )

    def model_free(self, dataset: Dataset) -> PseudoQueryConfig | None:
        """What pseudo-queries to make without a model: none where they weigh nothing and are not needed to measure on."""
        return self.pseudo_queries if self.pseudo_query_weight or not dataset.qrels.get("dev") else None


@dataclass(frozen=True)
class DevSet:
    """Queries to measure training on, and what they should find."""

    name: str
    queries: tuple[Query, ...]
    qrels: Qrels


def make_examples(
    dataset: Dataset,
    table: DocIDTable,
    settings: ExamplesConfig,
    dev_queries: int,
    pseudo: Sequence[PseudoQuery] | None = None,
) -> tuple[list[Example], DevSet]:
    """Training examples of every kind asked for, and the dev set; `pseudo`-queries are the model-free ones unless given.

    Raises DataError where nothing is left to learn from, or a training query is judged to need a document that is not there.
    """
    target_of = {tokens: index for index, tokens in enumerate(table.identifiers())}
    targets = {document.doc_id: target_of[table.tokens_of(document.doc_id)] for document in dataset.corpus}
    examples = list(_queries(dataset, targets, settings.query_weight)) if settings.queries else []
    for document in dataset.corpus:
        target = targets[document.doc_id]
        examples += (Example(text, target, kind, weight) for text, kind, weight in _views(document, settings))
    if pseudo is None:
        model_free = settings.model_free(dataset)
        pseudo = make_pseudo_queries(dataset.corpus, model_free) if model_free is not None else []
    dev = judged_dev(dataset, dev_queries)
    if dev is None:  # every tenth pseudo-query is kept from training
        held = pseudo[::10][:dev_queries] or pseudo[:1]
        kept = set(map(id, held))
        pseudo = [one for one in pseudo if id(one) not in kept] or pseudo
        queries = tuple(Query(f"pseudo-{i}", one.text) for i, one in enumerate(held))
        qrels = Qrels({query.query_id: {one.doc_id: 1} for query, one in zip(queries, held, strict=True)})
        dev = DevSet("held-out pseudo-queries", queries, qrels)
    for one in pseudo:
        generated = one.kind == "generated"
        weight = settings.generated_weight if generated else settings.pseudo_query_weight
        examples.append(Example(one.text, targets[one.doc_id], "generated" if generated else "pseudo", weight))
    examples = [example for example in examples if example.weight > 0]
    if not examples:
        raise DataError(f"{dataset.name}: nothing to learn from: no training queries, passages or pseudo-queries")
    return examples, dev


def _queries(dataset: Dataset, targets: dict[str, int], weight: float) -> Iterator[Example]:
    if "train" not in dataset.qrels:
        return
    qrels = dataset.qrels["train"]
    for query in dataset.split("train"):
        for doc_id in qrels.relevant(query.query_id):
            if doc_id not in targets:
                raise DataError(
                    f"{dataset.name}: training query {query.query_id!r} is judged to need document {doc_id!r}, which the "
                    "corpus does not hold; add it, or delete the judgement"
                )
            yield Example(query.text, targets[doc_id], "query", weight)


def _views(document: Document, settings: ExamplesConfig) -> Iterator[tuple[str, str, float]]:
    """(text, kind, weight) of the views of a document that weigh anything."""
    words = document.title_and_text.split()
    if settings.first_weight and words:
        yield " ".join(words[: settings.first_words]), "first", settings.first_weight
    if settings.passage_weight:
        stride = settings.passage_stride or settings.passage_words
        for start in range(0, len(words), stride)[: settings.passages]:
            yield " ".join(words[start : start + settings.passage_words]), "passage", settings.passage_weight
            if start + settings.passage_words >= len(words):
                break
    if settings.title_weight and document.title.strip():
        yield " ".join(document.title.split()), "title", settings.title_weight


def judged_dev(dataset: Dataset, most: int) -> DevSet | None:
    """At most so many queries of the dev split, evenly chosen; None where there is none."""
    if not dataset.qrels.get("dev"):
        return None
    chosen = spread(dataset.split("dev"), most)
    judged = {query.query_id: dataset.qrels["dev"].judgements[query.query_id] for query in chosen}
    return DevSet("dev", chosen, Qrels(judged))
