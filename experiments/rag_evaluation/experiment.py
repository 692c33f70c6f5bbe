"""Experiment `grounding`, `genir rag eval`: what each retriever, mitigation and refusal buys, with the generator held fixed, on one
data set.

    OUT/summary.json              data set -> arm -> measure -> {mean, low, high, perhaps delta}, and costs: {mean}; other data sets'
                                  parts stay
    OUT/answers.jsonl             every answer with its prompt, and the calls of its mitigations: {data, arm, accepted, prompt, calls,
                                  answer}; other data sets' lines stay
    OUT/<data set>.json           questions, calibration, costs, risk-coverage, what was left out
    OUT/<data set>.per_query.json the values behind the table of arms and mitigations
    OUT/<data set>.<plot>.svg     hallucination by retriever, risk-coverage, reliability
    OUT/<data set>.manifest.json  written last: a data set without one is unfinished

Costs are those of a question in all: the search, whenever it was made, the reading, and every step behind it.

A condition's tables are data sets of the summary, "squad-small (poisoned)". Invariants: everything that is asked for is checked before
the first file is written; thresholds and calibration come from dev questions alone; runs and answers are kept below `work` and reused
where they are current.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiments.checkers.benchmark import default_checker, make_checker
from experiments.rag_evaluation.answer_files import heading, merge_answers, write_per_query
from experiments.rag_evaluation.arms import Searcher
from experiments.rag_evaluation.bench import Arm, Bench, Part, Row
from experiments.rag_evaluation.calibration import calibrate
from experiments.rag_evaluation.conditions import MAKE, check_conditions, is_of
from experiments.rag_evaluation.figures import Figures, table_figures
from experiments.rag_evaluation.mitigated import check_mitigations, mitigated
from experiments.rag_evaluation.models import check_checker, check_model
from experiments.rag_evaluation.plots import PLOTS, curves, write_plots
from experiments.rag_evaluation.questions import Questions, choose_questions
from experiments.rag_evaluation.reading import AnswerStore, fingerprint
from experiments.rag_evaluation.sampling import check_samples, consistency_of, unsampled
from experiments.rag_evaluation.settings import GroundingConfig
from experiments.reading import joint_folder, make_reader_over
from experiments.summary_file import merge_summary, read_summary
from genir.errors import ArtefactError, ConfigError, DataError, MissingExtraError
from genir.formats import dataset_sha256, load_dataset
from genir.manifest import MANIFEST, provenance, sha256_of, write_json
from rag.joint.answerer import JointAnswerer
from rag.joint.model import JointModel
from rag.measures.names import is_unspaced
from rag.reading import Reader
from retrievers.index_files import read_json

STAGE = "experiment grounding"
ANSWERS = "answers.jsonl"


def run(
    data: Path,
    out: Path,
    config: GroundingConfig,
    work: Path,
    model: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Figures]:
    """Evaluate and write OUT; returns this data set's part of the summary. `tell` is called with a line a finished arm or condition.

    Raises ConfigError, DataError or ArtefactError, before anything is written, for what cannot be evaluated; DataError, before OUT is
    touched, for a retriever that finds nothing at all.
    """
    bench = prepare(data, config, work, model, cache, device)
    stem = _file_name(bench.questions.name)
    _check_out(out, stem)
    arms = [
        _read_arm(bench, retriever, generator, tell)
        for generator in bench.readers
        for retriever in bench.config.retrievers
    ]
    parts = [_base(bench, arms)]
    for condition in config.conditions:
        made = MAKE[condition](bench, arms)
        tell(f"condition {condition}" + ("" if any(part.rows for part in made) else ": nothing that it applies to"))
        for part in made:
            if part.why:
                tell(f"condition {condition}: {part.why}")
        parts += made
    summary = {
        heading(bench.questions.name, part): table_figures(part.rows, config.loss, config.seed, config.resamples)
        for part in parts
    }
    (out / f"{stem}.manifest.json").unlink(missing_ok=True)  # from here on this data set is unfinished
    out.mkdir(parents=True, exist_ok=True)
    write_plots(bench, arms, summary[bench.questions.name], out, stem)
    write_json(out / f"{stem}.json", _details(bench, arms, parts))
    write_per_query(out / f"{stem}.per_query.json", parts[0])
    merge_answers(out / ANSWERS, bench.questions.name, parts)
    merge_summary(out, summary, lambda name: is_of(name, bench.questions.name))
    inputs = {"dataset": dataset_sha256(data), **bench.store.inputs}
    inputs |= {f"reader {bench.labels[name]}": found for name, found in _digests(bench).items()}
    if model is not None:
        inputs["model"] = sha256_of(model / MANIFEST)
    told = asdict(config) | {"generators": list(bench.labels.values()), "checker": bench.store.inputs["checker"]}
    told["encoder"] = Path(config.encoder).name  # no paths of this machine
    write_json(out / f"{stem}.manifest.json", provenance(STAGE, told, inputs, config.seed))
    return summary


def _checker_name(named: str, questions: Questions) -> str:
    """What judges the claims: what was named, else the default for the questions' language."""
    unspaced = 2 * sum(is_unspaced(query.text) for query in questions.asked) > len(questions.asked)
    if named == "features" and unspaced:
        raise ConfigError(
            f"--checker features: reads English, and the questions of {questions.name} are in another language; give lexical, or "
            "embedding:NAME or nli:NAME with a model of that language"
        )
    return named or default_checker(unspaced)


def prepare(
    data: Path, config: GroundingConfig, work: Path, model: Path | None, cache: Path | None, device: str
) -> Bench:
    """Everything that an evaluation works with, loaded and checked; writes nothing."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "report", "the plots of an evaluation")
    dataset = load_dataset(data)
    questions = choose_questions(data, dataset, config)
    readers = {name: make_reader_over(name, dataset, data, device) for name in config.generators}
    for reader in readers.values():
        check_model(reader)
    searcher = Searcher(
        dataset, data, work, questions.relevant, model, config.encoder, cache, device, config.seed, _joint(readers)
    )
    searcher.check(config.retrievers)
    labels = {name: Path(reader.name).name for name, reader in readers.items()}
    for name, label in labels.items():
        if list(labels.values()).count(label) > 1:
            raise ConfigError(f"--generator {name}: another one is called {label!r} in tables, too; give one of them")
    judge = _checker_name(config.checker, questions)
    inputs = {"corpus": sha256_of(data / "corpus.jsonl"), "checker": fingerprint(judge)}
    checker = make_checker(judge, device, cache)
    check_checker(checker)
    documents = dataset.documents()
    store = AnswerStore(work, documents, checker, inputs, config.k)
    fingerprints = {name: fingerprint(name) for name in readers}
    bench = Bench(config, dataset, questions, searcher, store, readers, labels, fingerprints, documents)
    check_conditions(bench)
    check_mitigations(bench)
    check_samples(bench)
    return bench


def _joint(readers: Mapping[str, Reader]) -> tuple[JointModel, Path] | None:
    """The first joint model among the readers, with its folder."""
    for name, reader in readers.items():
        folder = joint_folder(name)
        if folder is not None and isinstance(reader, JointAnswerer):
            return reader.model, folder
    return None


def _read_arm(bench: Bench, retriever: str, generator: str, tell: Callable[[str], None]) -> Arm:
    """An arm's answers to the questions, and to the dev questions with what they decide."""
    evidence = bench.evidence(retriever, bench.questions.asked)
    if retriever != "none" and not any(evidence.rankings.values()):
        raise DataError(
            f"retriever {retriever}: an empty run: it found no passage for any of the {len(evidence.queries)} questions; there is nothing "
            "to read"
        )
    answered = bench.read(evidence, generator)
    dev, calibration = None, None
    if bench.questions.dev:
        dev = bench.read(bench.evidence(retriever, bench.questions.dev), generator)
        calibration = calibrate(dev.values, bench.config.loss, bench.config.coverage)
    tell(f"{bench.name(retriever, generator)}: {len(answered.answers)} questions")
    return Arm(retriever, generator, answered, dev, calibration)


def _base(bench: Bench, arms: Sequence[Arm]) -> Part:
    """The table of arms, each compared with its generator's reference arm, and the rows of mitigations."""
    rows = {}
    for arm in arms:
        reference = bench.config.reference
        against = "" if arm.retriever == reference else bench.name(reference, arm.generator)
        name = bench.name(arm.retriever, arm.generator)
        values = arm.answered.values | consistency_of(bench, arm)
        rows[name] = Row(values, against, arm.calibration, arm.answered.cost, whole=True)
    revised, answered, about = mitigated(bench, arms)
    if bench.config.samples:
        about["cannot_be_sampled"] = unsampled(bench)
    first = {bench.name(arm.retriever, arm.generator): arm.answered for arm in arms}
    return Part("", rows | revised, first | answered, about)


def _details(bench: Bench, arms: Sequence[Arm], parts: Sequence[Part]) -> dict[str, Any]:
    """What else there is to say of a data set."""
    questions = bench.questions
    return {
        "questions": {
            "asked": len(questions.asked),
            "dev": sum(bool(query.answers) for query in questions.dev),
            "dev_unanswerable": sum(not query.answers for query in questions.dev),
            "unanswerable": len(questions.unanswerable),
            "left_out_without_answer": questions.left_out,
        },
        "calibration": {
            bench.name(arm.retriever, arm.generator): None if arm.calibration is None else asdict(arm.calibration)
            for arm in arms
        },
        "risk_coverage": {
            bench.name(arm.retriever, arm.generator): curves(arm.answered.values, bench.config.loss) for arm in arms
        },
        "cost_a_question": {
            name: row.cost.each(len(questions.asked))
            for part in parts
            for name, row in part.rows.items()
            if row.cost is not None
        },
        "conditions": {heading(bench.questions.name, part): dict(part.about) for part in parts},
    }


def _check_out(out: Path, stem: str) -> None:
    """Raise ArtefactError where another stage's or the user's files would be overwritten."""
    if out.exists() and not out.is_dir():
        raise ArtefactError(f"--out {out}: is a file; give the name of a new folder")
    read_summary(out)
    ours = any(_stage_of(path) == STAGE for path in out.glob("*.manifest.json"))
    mine = {ANSWERS, f"{stem}.json", f"{stem}.per_query.json", *(f"{stem}.{plot}.svg" for plot in PLOTS)}
    foreign = sorted(path.name for path in out.glob("*") if path.name in mine)
    if foreign and not ours:
        raise ArtefactError(
            f"--out {out}: already holds other things ({', '.join(foreign[:3])}); give the name of a new folder, or of one made by "
            "`genir rag eval`"
        )


def _stage_of(path: Path) -> object:
    found = read_json(path)
    return found.get("stage") if isinstance(found, dict) else None


def _digests(bench: Bench) -> dict[str, str]:
    """Fingerprints without the folders' paths."""
    return {name: found.split()[-1] for name, found in bench.fingerprints.items()}


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-")
