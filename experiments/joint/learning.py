"""The stage `genir train-joint`: a data folder and its identifiers -> a folder with one model that retrieves and answers.

Here the identifiers become what rag may know of them: a constraint and a map. Invariants: nothing of the dev or test split is learnt from;
the weights that were best on dev are kept. The folder holds the model, its identifiers (docids/), joint.json, training.json and the
manifest; not the passages, which are read from the data folder that it was trained for.
"""

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from docids.spelling import spell
from docids.table import DocIDTable
from experiments.data_stage import tell_reused
from experiments.identifiers import load_identifiers
from experiments.joint.settings import JointConfig
from experiments.training.examples import DevSet, make_examples
from experiments.training.folder import TrainingFolder, fingerprint
from experiments.training.model import check_same_corpus
from genir.constraints import PrefixTree
from genir.devices import pick_device, seed_everything
from genir.embedding import encoder_fingerprint
from genir.errors import ConfigError
from genir.formats import CORPUS, QRELS, QUERIES, load_dataset
from genir.manifest import is_current, read_manifest, sha256_of, write_json, write_manifest
from genir.measures import evaluate
from genir.models.causal import CausalModel
from genir.records import Dataset, Run
from genir.training import discard_checkpoint, train
from rag.joint.config import JointSettings
from rag.joint.lessons import JointLesson, make_lessons
from rag.joint.model import SETTINGS_FILE, JointModel
from rag.joint.start import start_causal
from rag.joint.training import JointLearner, JointObjective, examples_of, write_sequences
from rag.scoring import f1

STAGE = "joint model"
MADE_BY = "genir train-joint"
_FOLDER = TrainingFolder(
    STAGE, "model", ("config.json", "network", "own_embedding.safetensors", SETTINGS_FILE, "docids", "training.json")
)


def train_joint(
    data: Path,
    docids: Path,
    config: JointConfig,
    out: Path,
    resume: bool = False,
    answers_of: Collection[str] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest.

    Only the answers of the training questions in `answers_of` are learnt (None: all); every question teaches its identifier. Raises
    ArtefactError for identifiers of another corpus, or an `out` with an unfinished training that is not to be resumed or a finished one
    that is not to be overwritten; ConfigError for identifiers that a joint model cannot write.
    """
    splits = [split for split in ("train", "dev") if (data / QRELS / f"{split}.tsv").is_file()]
    dataset = load_dataset(data, splits)
    made = read_manifest(docids, "docids", "genir docids build")
    inputs = _inputs(data, docids, config, splits, answers_of)
    check_same_corpus(made, inputs["corpus"], docids, data)
    if is_current(out, STAGE, config, inputs, config.training.seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    _FOLDER.check(out, resume, overwrite)
    begun = time.monotonic()
    seed_everything(config.training.seed)
    table = _table(docids)
    causal = _start(config, table)
    model = _assemble(causal, table, dataset, config.sequence)
    lessons, dev = _lessons(dataset, table, config, answers_of)
    sequences, left_out = write_sequences(model.writer, lessons, table)
    examples = examples_of(lessons, sequences)
    learner = JointLearner(model.writer, sequences)
    objective = JointObjective(model.writer, sequences, config.loss)
    figure = _dev_figure(model, dev)
    progress = train(learner, objective, examples, figure, config.training, out, resume, fingerprint(config, inputs))
    _FOLDER.clear(out)
    model.save(out)
    table.save(out / "docids")
    facts = {
        "measure": f"mean of RR@10 and F1 on {len(dev.queries)} {dev.name} queries",
        "scheme": table.scheme,
        "documents": len(table),
        "parameters": sum(parameter.numel() for parameter in causal.parameters()),
        "examples": len(examples),
        "material": dict(Counter(example.kind for example in examples)),
        "with_answer": sum(sequence.answer > 0 for sequence in sequences),
        "answers_left_out": left_out,
        "start_dev": progress.history[0]["dev"],
        "best_dev": progress.best,
        "steps": progress.step,
        "training_seconds": round(progress.seconds, 1),
        "seconds": round(progress.earlier_seconds + time.monotonic() - begun, 1),
    }
    write_json(out / "training.json", {**asdict(progress), "measure": facts["measure"]})
    manifest = write_manifest(out, STAGE, config, inputs, config.training.seed, **facts)
    discard_checkpoint(out)
    return manifest


def load_joint(folder: Path, dataset: Dataset, data: Path, device: str = "auto") -> JointModel:
    """The model of a folder over the corpus of `data`. Raises ArtefactError for another corpus, or a folder that is no joint model."""
    manifest = read_manifest(folder, STAGE, MADE_BY)
    check_same_corpus(manifest, sha256_of(data / CORPUS), folder, data)
    table = _table(folder / "docids")

    def constraint(causal: CausalModel) -> PrefixTree:
        causal.precision = "auto"
        return _constraint(table, causal.to(pick_device(device)))

    return JointModel.load(folder, constraint, table, dataset.documents(), partial(spell, table))


def _inputs(
    data: Path, docids: Path, config: JointConfig, splits: Sequence[str], answers_of: Collection[str] | None
) -> dict[str, str]:
    files = [data / CORPUS, data / QUERIES, *(data / QRELS / f"{split}.tsv" for split in splits)]
    read = {path.relative_to(data).with_suffix("").as_posix(): sha256_of(path) for path in files if path.is_file()}
    if answers_of is not None:
        read["answers_of"] = hashlib.sha256(json.dumps(sorted(answers_of)).encode()).hexdigest()
    start = config.causal.source or config.causal.tokenizer
    return {**read, "docids": sha256_of(docids), "start": encoder_fingerprint(start)}


def _table(folder: Path) -> DocIDTable:
    table = load_identifiers(folder)
    if not isinstance(table, DocIDTable):
        raise ConfigError(
            f"{folder}: a joint model writes one identifier a document, which n-grams and views are not; build another scheme"
        )
    return table


def _start(config: JointConfig, table: DocIDTable) -> CausalModel:
    """A network before training, with a vocabulary of its own for identifiers that are not text."""
    written_in = config.causal.source or config.causal.tokenizer
    vocabulary: tuple[int | None, int | None] = (None, None)
    if table.tokenizer is None:
        lengths = {len(tokens) for tokens in table.identifiers()}
        # Identifiers of one length end by themselves.
        end_token = None if len(lengths) == 1 else table.vocab_size
        vocabulary = (table.vocab_size + (end_token is not None), end_token)
    elif table.tokenizer != written_in:
        raise ConfigError(
            f"the identifiers are written in tokens of {table.tokenizer!r}, but the model reads and writes those of {written_in!r}: "
            f"build them with `--set tokenizer={written_in}`"
        )
    causal = start_causal(config.causal, *vocabulary, config.copying_start, config.training.seed)
    causal.precision = config.training.precision
    return causal.to(pick_device(config.device))


def _assemble(causal: CausalModel, table: DocIDTable, dataset: Dataset, settings: JointSettings) -> JointModel:
    return JointModel(causal, _constraint(table, causal), table, dataset.documents(), settings, partial(spell, table))


def _constraint(table: DocIDTable, causal: CausalModel) -> PrefixTree:
    end = () if causal.end_token is None else (causal.end_token,)
    identifiers = [tokens + end for tokens in table.identifiers()]
    return PrefixTree.build(identifiers, causal.vocab_size).to(causal.device)


def _lessons(
    dataset: Dataset, table: DocIDTable, config: JointConfig, answers_of: Collection[str] | None
) -> tuple[list[JointLesson], DevSet]:
    """Lessons with answers of the training questions, then texts of documents that teach identifiers alone; and the dev set."""
    documents = dataset.documents()
    judged = dataset.qrels.get("train")
    asked = (
        [(query, documents[i]) for query in dataset.split("train") for i in judged.relevant(query.query_id)]
        if judged is not None and config.examples.queries
        else []
    )
    if 0 < config.max_questions < len(asked):
        drawn = sorted(random.Random(config.training.seed).sample(range(len(asked)), config.max_questions))
        asked = [asked[number] for number in drawn]
    lessons = make_lessons(asked, config.lessons, config.training.seed, answers_of)
    lessons = [replace(one, weight=config.examples.query_weight) for one in lessons]
    owners = [table.documents_of(tokens)[0] for tokens in table.identifiers()]
    texts, dev = make_examples(dataset, table, config.examples, config.dev_queries)
    lessons += [
        JointLesson(one.text, owners[one.target], kind=one.kind, weight=one.weight)
        for one in texts
        if one.kind != "query"  # those are there, with their answers
    ]
    return lessons, dev


def _dev_figure(model: JointModel, dev: DevSet) -> Callable[[], float]:
    """A function that answers the dev queries with the model as it is: mean of RR@10 and F1, so that neither pays for the other.

    Both see a model that has begun to learn, where Success@1 and EM are still 0 and the untrained start would be kept.
    """

    def figure() -> float:
        if not dev.queries:
            return 0.0
        generations = model.generate([query.text for query in dev.queries], k=10)
        model.causal.train()
        run = Run(model.name, {q.query_id: one.ranking for q, one in zip(dev.queries, generations, strict=True)})
        rank = evaluate(run, dev.qrels, ["RR@10"]).means["RR@10"]
        told = [f1(one.reading.text, query.answers) for query, one in zip(dev.queries, generations, strict=True)]
        return round((rank + sum(told) / len(told)) / 2, 6)

    return figure
