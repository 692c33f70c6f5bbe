"""The stage `genir train-reader span`: a data folder -> a calibrated span reader, a folder that `--generator span:DIR` takes.

Invariants: nothing of the dev or test split is learnt from, nor, with `--exclude DIR`, what DIR's dev and test questions hold: a training
question is left out where it reads like one of them, and where its passage is one of theirs (`experiments.span.questions`). The
manifest says how many were, by reason. The weights that were best on dev are kept, and what is saved is measured as it was saved.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.data_stage import tell_reused
from experiments.registry import configured
from experiments.span.questions import Asked, HeldOut, choose_questions
from experiments.training.folder import TrainingFolder, fingerprint, shipped
from genir.config import from_mapping
from genir.devices import pick_device, seed_everything
from genir.embedding import encoder_fingerprint
from genir.formats import CORPUS, QRELS, QUERIES, load_dataset
from genir.manifest import is_current, read_manifest, sha256_of, write_json, write_manifest
from genir.training import discard_checkpoint, train
from rag.scoring import f1
from rag.span.calibration import calibrate, make_cases
from rag.span.model import SpanModel
from rag.span.negatives import WrongPassages
from rag.span.reader import SETTINGS_FILE, WEIGHTS_FILE, SpanReader, SpanSettings, load_model
from rag.span.training import Learner, SpanConfig, SpanObjective, make_training_set
from retrievers.index_files import read_json

STAGE = "span reader"
MADE_BY = "genir train-reader span"
# What a reader's folder may hold before its manifest is written: a saved reader, and the tokenizers' files.
_FOLDER = TrainingFolder(
    STAGE,
    "reader",
    (
        *("config.json", WEIGHTS_FILE, SETTINGS_FILE, "training.json", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt"),
    ),
)


def read_config(
    path: Path | None,
    settings: Sequence[str] = (),
    encoder: str | None = None,
    max_minutes: float | None = None,
) -> SpanConfig:
    """The configuration in a TOML file, or the defaults, with KEY=VALUE settings ("training.epochs=2") and the named options over it.

    Raises ConfigError for unknown keys, with a suggestion, and for values that cannot be.
    """
    values = configured(path, settings)
    if encoder is not None:
        values["encoder"] = encoder
    if max_minutes is not None:
        values.setdefault("training", {})["max_minutes"] = max_minutes
    return from_mapping(SpanConfig, values, "train-reader" if path is None else str(path))


def train_span(
    data: Path,
    config: SpanConfig,
    out: Path,
    resume: bool = False,
    exclude: Sequence[Path] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest.

    Raises DataError where there is nothing to learn from, ArtefactError for an `out` that holds something else, an unfinished training
    that is not to be resumed, or a finished one that is not to be overwritten.
    """
    dataset = load_dataset(data, _splits(data))
    inputs = _inputs(data, config, exclude)
    if is_current(out, STAGE, config, inputs, config.training.seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    _FOLDER.check(out, resume, overwrite)
    begun = time.monotonic()
    seed_everything(config.training.seed)
    asked, dev, left_out = choose_questions(
        dataset,
        [HeldOut.read(folder) for folder in exclude],
        config.max_questions,
        config.dev_questions,
        config.training.seed,
    )
    model = _start(config).to(pick_device(config.device))
    settings = SpanSettings(config.max_length, config.stride, config.max_question_tokens, config.max_answer_tokens)
    reader = SpanReader(model, settings, precision=config.training.precision)
    wrong = WrongPassages(dataset.corpus, config.hardest)
    cases = make_cases(dev, wrong, seed=config.training.seed)
    learnt = make_training_set(reader.maker, asked, wrong, config)
    objective = SpanObjective(model, learnt, config.max_answer_tokens)
    learner = Learner(model, learnt.windows)
    made_of = fingerprint(config, inputs, [asdict(group) for group in learnt.groups], ("training", "storage"))
    progress = train(
        learner, objective, learnt.examples(), lambda: _f1(reader, dev), config.training, out, resume, made_of
    )
    chosen = calibrate(reader, cases)
    _FOLDER.clear(out)
    tuned = reader.with_settings(temperature=chosen.temperature, min_confidence=chosen.min_confidence)
    tuned.save(out, config.storage)
    saved = SpanReader.load(out, config.device, config.training.precision)
    facts = {
        "measure": f"F1 of {len(dev)} dev questions with their passage",
        "examples": len(learnt.groups),
        "unanswerable": sum(not group.places for group in learnt.groups),
        "beside_a_wrong_passage": sum(bool(group.beside) for group in learnt.groups),
        "left_out": {**left_out, **learnt.left_out},
        "start_dev": progress.history[0]["dev"],
        "best_dev": progress.best,
        "saved_dev": _f1(saved.with_settings(min_confidence=0.0), dev),
        "calibration": chosen.facts(),
        "training_seconds": round(progress.seconds, 1),
        "seconds": round(progress.earlier_seconds + time.monotonic() - begun, 1),
    }
    write_json(out / "training.json", {**asdict(progress), "measure": facts["measure"]})
    manifest = write_manifest(out, STAGE, config, inputs, config.training.seed, **facts)
    discard_checkpoint(out)
    return manifest


def _splits(data: Path) -> list[str]:
    """The splits that training may see. Others are not even read."""
    return [split for split in ("train", "dev") if (data / QRELS / f"{split}.tsv").is_file()]


def _inputs(data: Path, config: SpanConfig, exclude: Sequence[Path]) -> dict[str, str]:
    files = [data / CORPUS, data / QUERIES, *(data / QRELS / f"{split}.tsv" for split in _splits(data))]
    read = {path.relative_to(data).with_suffix("").as_posix(): sha256_of(path) for path in files if path.is_file()}
    for folder in exclude:
        for name in (CORPUS, QUERIES, f"{QRELS}/dev.tsv", f"{QRELS}/test.tsv"):
            if (folder / name).is_file():
                read[f"excluded {folder.name}/{Path(name).with_suffix('').as_posix()}"] = sha256_of(folder / name)
    return {**read, "start": encoder_fingerprint(config.encoder)}


def _start(config: SpanConfig) -> SpanModel:
    """A reader that learns on, or a pretrained encoder with a fresh head."""
    folder = Path(config.encoder)
    if (folder / SETTINGS_FILE).is_file():
        return load_model(folder)
    return SpanModel.pretrained(config.encoder, config.max_length)


def _f1(reader: SpanReader, asked: Asked) -> float:
    """Mean F1 where each question is read with its own passage and must be answered."""
    readings = reader.read([query.text for query, _ in asked], [[passage] for _, passage in asked])
    scores = [f1(one.text, query.answers) for one, (query, _) in zip(readings, asked, strict=True)]
    return round(sum(scores) / len(scores), 6)


def pack_reader(reader: Path, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """The same reader with its weights in int8, for shipping; returns its manifest, which tells how the first was made.

    Raises ArtefactError where `reader` is none, or `out` holds something else, or another reader that is not to be overwritten.
    """
    manifest = read_manifest(reader, STAGE, MADE_BY)
    _FOLDER.check(out, resume=False, overwrite=overwrite or out.resolve() == reader.resolve())
    whole, curve = SpanReader.load(reader), read_json(reader / "training.json")
    inputs = {**manifest["inputs"], "packed from": sha256_of(reader / WEIGHTS_FILE)}
    _FOLDER.clear(out)  # which may be the reader's own
    whole.save(out, "int8")
    write_json(out / "training.json", curve)
    return write_manifest(
        out, STAGE, shipped(manifest["config"], "encoder"), inputs, manifest["seed"], **manifest["facts"]
    )
