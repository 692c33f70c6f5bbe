"""What a reader with a threshold, `span` or `llama`, is worth: with the oracle passage, with what BM25 finds, and on questions that
their own passage does not answer.

    python -m experiments.reader_evaluation --reader FOLDER --data DIR --split test --unanswerable DIR --out FILE

Each arm is read once and told twice: "always" answers every question, which is what exact match, F1 and the risk-coverage curve are of;
"abstaining" withholds what lies below the reader's own threshold, which was chosen on its dev questions. The unanswerable
questions are SQuAD 2.0's way: `queries.jsonl` says of each question whether it is `answerable`, its `split`, and the `context_id` of the
paragraph it was written against, which is all that the reader gets.

Invariant: one figure an arm and measure, with its 95 % bootstrap interval over questions; nothing is chosen on what is measured here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from experiments.rag_evaluation.reading import fingerprint
from experiments.reading import make_reader
from experiments.span.questions import answered
from genir.errors import ConfigError, DataError
from genir.formats import CORPUS, QUERIES, dataset_sha256, load_dataset, read_corpus
from genir.manifest import provenance, write_json
from genir.records import Answer, Dataset, Document, Query
from rag.llama_reader.reader import LlamaReader
from rag.measures.estimates import estimates
from rag.measures.selective import risk_coverage
from rag.prompt import UNKNOWN
from rag.reading import Reading
from rag.scoring import score_answer
from rag.span.reader import SpanReader

POINTS = 100  # of a risk-coverage curve, at most

Values = dict[str, dict[str, float]]  # measure -> query_id -> value


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the passages that the reader gets; one without answers must be refused."""

    query: Query
    passages: tuple[Document, ...]


class ThresholdReader(Protocol):
    """A reader that abstains below a threshold of its own, which can be lowered so that every question is answered."""

    @property
    def settings(self) -> Any:
        """With `min_confidence`, the threshold."""
        ...

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question."""
        ...

    def with_settings(self, **changes: Any) -> "ThresholdReader":
        """The same reader under other settings."""
        ...


def oracle(dataset: Dataset, split: str) -> list[Asked]:
    """The questions of a split, each with its own passage alone. Raises DataError where none has answers."""
    asked = [Asked(query, (passage,)) for query, passage in answered(dataset, split)]
    if not asked:
        raise DataError(f"{dataset.name}: no question of split {split!r} has answers and a passage: nothing to measure")
    return asked


def retrieved(dataset: Dataset, split: str, k: int) -> list[Asked]:
    """The same questions with the k passages that BM25 ranks first over the whole corpus."""
    from retrievers.bm25 import BM25Retriever

    queries = [one.query for one in oracle(dataset, split)]
    documents = dataset.documents()
    run = BM25Retriever().build(dataset.corpus).search(queries, k)
    return [Asked(query, tuple(documents[one.doc_id] for one in run.rankings[query.query_id])) for query in queries]


def unanswerable(folder: Path, split: str) -> list[Asked]:
    """All questions of a split of a SQuAD 2.0 folder with the paragraph each was written against.

    Raises DataError where `queries.jsonl` does not say which are answerable, with the line.
    """
    documents = {document.doc_id: document for document in read_corpus(folder / CORPUS)}
    asked = []
    with (folder / QUERIES).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                passage = documents[record["context_id"]]
                answers = tuple(record["answers"]) if record["answerable"] else ()
                if record["split"] == split:
                    asked.append(Asked(Query(record["_id"], record["text"], answers), (passage,)))
            except (KeyError, ValueError) as error:
                raise DataError(
                    f"{folder / QUERIES}:{number}: {error!r}: expected `answerable`, `split` and the `context_id` of a document"
                ) from None
    if not any(one.query.answers for one in asked) or all(one.query.answers for one in asked):
        raise DataError(f"{folder}: split {split!r} has not both answerable and unanswerable questions")
    return asked


def score(readings: Sequence[Reading], asked: Sequence[Asked], threshold: float = 0.0) -> Values:
    """Every measure of every question, readings below the threshold withheld; refusal is of the unanswerable ones, over-refusal of the
    others.
    """
    values: Values = {}
    for one, reading in zip(asked, readings, strict=True):
        abstained = reading.abstained or reading.confidence < threshold
        found = Answer(one.query.query_id, one.query.text, UNKNOWN if abstained else reading.text, abstained=abstained)
        measured = score_answer(found, one.query)
        measured["confidence"] = reading.confidence
        measured["over-refusal" if one.query.answers else "refusal"] = float(abstained)
        if one.query.answers:
            measured["F1 of answerable"] = measured["F1"]
        for measure, value in measured.items():
            values.setdefault(measure, {})[one.query.query_id] = value
    return values


def figures(reader: ThresholdReader, arms: Mapping[str, Sequence[Asked]]) -> dict[str, Any]:
    """Arm -> "always" and "abstaining" -> measure -> {mean, low, high}, and the risk-coverage curve of "always"."""
    made: dict[str, Any] = {}
    ready = reader.with_settings(min_confidence=0.0)
    for name, asked in arms.items():
        readings = ready.read([one.query.text for one in asked], [one.passages for one in asked])
        always = score(readings, asked)
        made[name] = {
            "questions": len(asked),
            "always": _plain(always),
            "abstaining": _plain(score(readings, asked, reader.settings.min_confidence)),
            "risk_coverage": _curve(always),
        }
    return made


def _plain(values: Values) -> dict[str, Any]:
    return {measure: asdict(figure) for measure, figure in estimates(values).items()}


def _curve(values: Values) -> list[dict[str, float]]:
    """Points of the curve, evenly over its coverage: {coverage, risk, threshold}."""
    order = list(values["hallucination"])
    curve = risk_coverage(
        [values["confidence"][query_id] for query_id in order],
        [values["hallucination"][query_id] for query_id in order],
    )
    count = min(POINTS, len(curve))
    chosen = [round((place + 1) * len(curve) / count) - 1 for place in range(count)]
    return [
        {
            "coverage": round(float(curve.coverage[i]), 4),
            "risk": round(float(curve.risk[i]), 4),
            "threshold": round(float(curve.threshold[i]), 4),
        }
        for i in chosen
    ]


def evaluate(
    reader: Annotated[Path, typer.Option("--reader", help="Folder made by `genir train-reader span` or `llama`.")],
    data: Annotated[Path, typer.Option("--data", help="Data folder with answers.")],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    split: Annotated[str, typer.Option("--split", help="Split to measure on.")] = "test",
    second: Annotated[
        Path | None,
        typer.Option(
            "--unanswerable", help="SQuAD 2.0 folder for questions that must be refused.", show_default="none"
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=0, help="Passages that BM25 finds; 0 for no such arm.")] = 5,
    questions: Annotated[int, typer.Option("--questions", min=0, help="At most so many an arm; 0 for all.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Measure a reader and write every figure with its interval."""
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; give the name of a file, e.g. {out / 'reader.json'}")
    dataset = load_dataset(data, [split])
    inputs = {"reader": fingerprint(str(reader)).split()[-1], "dataset": dataset_sha256(data)}
    arms = {"oracle": oracle(dataset, split)}
    if k:
        arms[f"bm25, {k} passages"] = retrieved(dataset, split, k)
    if second is not None:
        arms[f"{second.name}, own passage"] = unanswerable(second, split)
        inputs[second.name] = dataset_sha256(second)
    if questions:
        arms = {name: asked[:: max(1, len(asked) // questions)][:questions] for name, asked in arms.items()}
    loaded = make_reader(str(reader), device)
    if not isinstance(loaded, SpanReader | LlamaReader):
        raise ConfigError(
            f"--reader {reader}: no reader with a threshold; give the folder of `genir train-reader span` or `llama`"
        )
    config = {"data": data.name, "split": split, "settings": asdict(loaded.settings)}
    made = figures(loaded, arms)
    write_json(out, {**made, **provenance("reader evaluation", config, inputs)})
    for name in arms:
        row = made[name]["always"]
        typer.echo(f"{name}: EM {row['EM']['mean']:.3f}, F1 {row['F1']['mean']:.3f}")


if __name__ == "__main__":
    typer.run(evaluate)
