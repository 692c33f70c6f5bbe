"""The training stage: a data folder and its identifiers -> a model folder.

A model is trained on what `experiments.training.examples` makes, measured on the dev split while it learns, and kept.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from docids.learned import codes_of
from docids.ngram import NgramTable
from docids.table import DocIDTable
from docids.views import ViewsTable
from experiments.data_stage import tell_reused
from experiments.identifiers import Identifiers, load_identifiers, make_searcher, one_each
from experiments.training.examples import DevSet, make_examples
from experiments.training.folder import TrainingFolder, fingerprint
from experiments.training.learned_identifiers import Lesson, discard_rounds, learn_identifiers
from experiments.training.material import gather_pseudo_queries
from experiments.training.model_config import ModelConfig, build_model, make_objective
from experiments.training.model_folder import MATERIAL, WRITTEN, inputs_of
from experiments.training.ngram_examples import ngram_examples
from experiments.training.teaching import ask_teacher
from experiments.training.view_examples import check_views, view_examples, view_numbers
from genir.devices import seed_everything
from genir.errors import ArtefactError
from genir.formats import load_dataset
from genir.manifest import (
    MANIFEST,
    is_current,
    read_manifest,
    write_json,
    write_manifest,
)
from genir.measures import evaluate
from genir.pseudo_queries import PseudoQuery
from genir.records import Dataset
from genir.training import discard_checkpoint

STAGE = "model"
MADE_BY = "genir train"
_FOLDER = TrainingFolder(STAGE, "model", WRITTEN)
DEV_MEASURE = "RR@10"


def train_model(
    data: Path,
    docids: Path,
    config: ModelConfig,
    out: Path,
    resume: bool = False,
    cache: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest.

    Raises ArtefactError for identifiers of another corpus, and for an `out` that holds something else, an unfinished training that is not
    to be resumed, or a finished model of other inputs that is not to be overwritten. `cache` keeps what models made for training (queries,
    a teacher's rankings) for other trainings, too.
    """
    dataset = load_dataset(data)
    made = read_manifest(docids, "docids", "genir docids build")
    inputs = inputs_of(dataset, data, docids, config.pretrained, config.examples.generator, config.teacher)
    check_same_corpus(made, inputs["corpus"], docids, data)
    if is_current(out, STAGE, config, inputs, config.training.seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    if (out / "docids" / MANIFEST).is_file():  # a model's own copy has no manifest
        raise ArtefactError(f"{out}: already holds identifiers ({out / 'docids'}); give the name of a new folder")
    _FOLDER.check(out, resume, overwrite)
    begun = time.monotonic()
    table = load_identifiers(docids)
    whole = one_each(table)
    if isinstance(table, ViewsTable):
        check_views(config.learned.rounds, config.teacher, config.objective.self_distillation)
    if config.learned.rounds:
        codes_of(whole)  # refuses identifiers that cannot be learned, before anything that takes long
    seed_everything(config.training.seed)  # before the fresh weights are drawn
    model = build_model(config, whole)
    wanted, work = config.examples, cache or out / MATERIAL
    model_free = wanted.model_free(dataset)
    pseudo, material = gather_pseudo_queries(
        dataset, model_free, wanted.generator, wanted.consistency, work, config.device
    )
    lesson = partial(_lesson, config, dataset, model, table, pseudo, material, work)
    settings, made_of = config.training, fingerprint(config, inputs)
    learned = learn_identifiers(model, whole, dataset.corpus, lesson, config.learned, settings, out, resume, made_of)
    table, progress = learned.table if config.learned.rounds else table, learned.progress
    facts = {
        "scheme": table.scheme,
        "documents": len(table),
        **learned.facts,
        "rounds": learned.rounds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "best_dev": progress.best,
        "start_dev": progress.history[0]["dev"],
        "seconds": round(progress.earlier_seconds + time.monotonic() - begun, 1),
    }
    _FOLDER.clear(out)
    model.save(out)
    table.save(out / "docids")
    write_json(out / "titles.json", {document.doc_id: document.title for document in dataset.corpus})
    write_json(out / "training.json", {**asdict(progress), "measure": facts["measure"]})
    manifest = write_manifest(out, STAGE, config, inputs, config.training.seed, **facts)
    discard_checkpoint(out)
    discard_rounds(out)
    shutil.rmtree(out / MATERIAL, ignore_errors=True)
    return manifest


def _lesson(
    config: ModelConfig,
    dataset: Dataset,
    model: Any,
    given: Identifiers,
    pseudo: Sequence[PseudoQuery],
    material: Mapping[str, Any],
    work: Path,
    table: DocIDTable,
) -> Lesson:
    """What `table`, with one identifier a document, makes of the data; n-grams, where they are `given`, stay what is searched."""
    numbered = given.numbered() if isinstance(given, ViewsTable) else table
    examples, dev = make_examples(dataset, numbered, config.examples, config.dev_queries, pseudo)
    teacher, about = ask_teacher(config.teacher, dataset, table, examples, work, config.device)
    identifiers, searched = table.identifiers(), table if isinstance(given, DocIDTable) else given
    if isinstance(given, NgramTable):
        examples, identifiers = ngram_examples(examples, given, config.ngram)
    views = None
    if isinstance(given, ViewsTable):
        views, identifiers = view_numbers(given), given.identifiers()
        if given.combined == "sum" or config.objective.kind != "ranking":
            examples, views = view_examples(examples, views), None
    facts = {
        "examples": len(examples),
        "material": {**material, **about, "examples": dict(Counter(example.kind for example in examples))},
        "measure": f"{DEV_MEASURE} on {dev.name}",
    }
    objective = make_objective(config, model, identifiers, examples, teacher, views)
    return Lesson(examples, objective, _dev_figure(model, searched, dev, config), facts)


def check_same_corpus(manifest: Mapping[str, Any], corpus: str, artefact: Path, data: Path) -> None:
    """Raises ArtefactError where an artefact was made from another corpus than that of the data folder."""
    made_from = manifest["inputs"].get("corpus")
    if made_from != corpus:
        raise ArtefactError(
            f"{artefact}: made for another corpus (sha256 {str(made_from)[:12]}) than {data} ({corpus[:12]}); "
            "give the data folder it was made from, or make it again"
        )


def _dev_figure(model: Any, table: Identifiers, dev: DevSet, config: ModelConfig) -> Callable[[], float]:
    """A function that searches the dev queries with the model as it is and returns the mean of DEV_MEASURE."""
    beams = replace(config.search, num_beams=min(config.search.num_beams, 50))
    search = config.ngram.search if isinstance(table, NgramTable) else beams
    retriever = make_searcher(model, table, search)

    def figure() -> float:
        if not dev.queries:
            return 0.0
        model.eval()
        run = retriever.search(dev.queries, k=min(10, search.num_beams))
        model.train()
        return round(evaluate(run, dev.qrels, [DEV_MEASURE]).means[DEV_MEASURE], 6)

    return figure
