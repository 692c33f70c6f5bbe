"""What a joint model is worth: its identifiers, and its answers by where the evidence came from.

Arms: "own" reads what the model found, in one generation; "oracle" the passage that is judged right and "random" a wrong one, each with its
identifier forced; "own, free" reads its own evidence without the copying constraint, so that the table shows what that buys. Questions
without a judgement (nothing in the corpus answers them) have no right passage, and count for refusal.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.joint.learning import MADE_BY, STAGE, load_joint
from genir.errors import ConfigError, DataError
from genir.formats import dataset_sha256, load_dataset, write_answers
from genir.manifest import check_out, read_manifest, sha256_of, write_json, write_manifest
from genir.measures import bootstrap_interval, evaluate
from genir.protocols import Retriever
from genir.records import Answer, Dataset, DocIDTokens, Document, Qrels, Query, Run
from genir.sampling import spread
from rag.answering import answer
from rag.evaluation import OracleRetriever, RandomRetriever
from rag.joint.model import JointGeneration, JointModel
from rag.reading import Reading
from rag.scoring import summarise

SUMMARY, ANSWERS = "summary.json", "answers.jsonl"
ANSWER_MEASURES = ("EM", "F1", "hallucination", "abstention")
RETRIEVAL_MEASURES = ("Success@1", "R@10")
_DEPTH = 10


class OneGeneration:
    """What `JointModel.generate` gave, as the retriever and the reader that `rag.answering` asks one after the other."""

    def __init__(self, model: JointModel, queries: Sequence[Query], generations: Sequence[JointGeneration]) -> None:
        self.model, self.name = model, model.name
        self.found = {query.query_id: one.ranking for query, one in zip(queries, generations, strict=True)}
        self.readings = [one.reading for one in generations if one.ranking]

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """The rankings that were found."""
        return Run(self.name, {query.query_id: self.found[query.query_id][:k] for query in queries})

    def written(self, doc_ids: Sequence[str]) -> Mapping[str, tuple[DocIDTokens, str]]:
        """The identifiers that were written."""
        return self.model.written(doc_ids)

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """The readings of the questions for which something was found."""
        assert len(questions) == len(self.readings)
        return self.readings


def answer_together(model: JointModel, queries: Sequence[Query], k: int = 3) -> list[Answer]:
    """One answer a query, each from one generation, with its claims, citations and the first k documents of the ranking."""
    one = OneGeneration(model, queries, model.generate([query.text for query in queries], k))
    return answer(queries, one, one, model.passages, k)


def read_ids(path: Path) -> frozenset[str]:
    """Query ids, one a line. Raises DataError for a missing file, and for one without any."""
    try:
        ids = frozenset(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}; expected a file of query ids, one a line") from None
    if not ids:
        raise DataError(f"{path}: holds no query id; expected one a line")
    return ids


def measure(
    data: Path,
    folder: Path,
    out: Path,
    split: str = "test",
    only: Collection[str] | None = None,
    limit: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Ask the questions of a split, or those of them that `only` names, `limit` of them at most; returns what summary.json holds.

    Where `only` names questions without a judgement, they are asked, too, and counted for refusal.
    """
    read_manifest(folder, STAGE, MADE_BY)
    check_out(out, (SUMMARY, ANSWERS))
    dataset = load_dataset(data)
    if split not in dataset.qrels:
        raise DataError(f"{data}: has no split {split!r}: {', '.join(dataset.qrels)}")
    model = load_joint(folder, dataset, data, device)
    queries, in_vain = _questions(dataset, split, only, limit)
    figures, answers = measure_model(model, queries, dataset.qrels[split], in_vain)
    write_answers(answers, out / ANSWERS)
    write_json(out / SUMMARY, figures)
    config = {"split": split, "only": None if only is None else sorted(only), "limit": limit}
    inputs = {"dataset": dataset_sha256(data), "model": sha256_of(folder)}
    write_manifest(out, "joint measures", config, inputs)
    return figures


def measure_model(
    model: JointModel, queries: Sequence[Query], qrels: Qrels, in_vain: Sequence[Query] = ()
) -> tuple[dict[str, Any], list[Answer]]:
    """Figures with 95 % bootstrap intervals, and the answers of the arm "own"."""
    generations = model.generate([query.text for query in queries], _DEPTH)
    one = OneGeneration(model, queries, generations)
    judged = Qrels({query.query_id: qrels.judgements[query.query_id] for query in queries})
    scores = evaluate(one.search(queries, _DEPTH), judged, list(RETRIEVAL_MEASURES))
    own = answer(queries, one, one, model.passages, 1)
    free = answer_together(model.with_settings(copy=False), queries, 1)
    given: dict[str, Retriever] = {
        "oracle": OracleRetriever(judged),
        "random": RandomRetriever(tuple(model.passages), judged),
    }
    arms = {"own": own, "own, free": free} | {
        name: answer(queries, retriever, model, model.passages, 1) for name, retriever in given.items()
    }
    figures: dict[str, Any] = {"questions": len(queries)}
    figures |= {name: _interval(list(scores.per_query[name].values())) for name in RETRIEVAL_MEASURES}
    figures["answers"] = {name: _arm(answers, queries) for name, answers in arms.items()}
    if in_vain:
        refused = [float(one.abstained) for one in answer_together(model, in_vain, 1)]
        figures["refusal"] = {"questions": len(in_vain), **_interval(refused)}
    return figures, own


def table(figures: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """(rows, columns) of the arms, for a person."""
    rows = []
    for name, values in figures["answers"].items():
        cells = {m: f"{v['mean']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for m, v in values.items()}
        rows.append({"evidence": name, **cells})
    return rows, ["evidence", *ANSWER_MEASURES]


def _questions(
    dataset: Dataset, split: str, only: Collection[str] | None, limit: int
) -> tuple[Sequence[Query], Sequence[Query]]:
    """The questions to ask, and those of `only` that nothing answers; each at most `limit`, evenly chosen."""
    judged = {query_id for qrels in dataset.qrels.values() for query_id in qrels}
    queries = [query for query in dataset.split(split) if only is None or query.query_id in only]
    in_vain = [dataset.queries[i] for i in sorted(only or ()) if i in dataset.queries and i not in judged]
    if not queries:
        raise ConfigError(f"no question of split {split!r} is among the {len(only or ())} that were named")
    return spread(queries, limit), spread(in_vain, limit)


def _arm(answers: Sequence[Answer], queries: Sequence[Query]) -> dict[str, dict[str, float]]:
    per_query = summarise(answers, queries).per_query
    return {name: _interval(list(per_query[name].values())) for name in ANSWER_MEASURES}


def _interval(values: Sequence[float]) -> dict[str, float]:
    low, high = bootstrap_interval(values, seed=0)
    return {"mean": sum(values) / len(values), "low": low, "high": high}
