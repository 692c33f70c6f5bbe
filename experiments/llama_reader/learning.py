"""The stage `genir train-reader llama`: a data folder, and any corpora for cloze questions -> a calibrated llama reader.

Invariants: nothing of the dev or test split is learnt from, nor, with `--exclude DIR`, what DIR's dev and test questions hold
(`experiments.span.questions`); cloze questions, too, leave out passages that dev and test questions of those folders, or of their own, are
about. The weights that were best on dev are kept, and what is saved is measured as it was saved, served by the project's engine.
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
from genir.errors import DataError
from genir.formats import CORPUS, QRELS, QUERIES, load_dataset, read_corpus
from genir.manifest import is_current, read_manifest, sha256_of, write_json, write_manifest
from genir.records import Document, Query
from genir.training import discard_checkpoint, train
from rag.llama_reader.calibration import calibrate
from rag.llama_reader.cloze import cloze_questions
from rag.llama_reader.network import PACKED_FILE, WEIGHTS_FILE, load_network, new_network
from rag.llama_reader.reader import SETTINGS_FILE, LlamaReader, read_settings, save_reader
from rag.llama_reader.training import AnswerObjective, Learner, LlamaReaderConfig, make_training_set
from rag.scoring import f1
from rag.span.calibration import make_cases
from rag.span.negatives import WrongPassages
from retrievers.index_files import read_json

STAGE = "llama reader"
MADE_BY = "genir train-reader llama"
_SAMPLED = 48  # passages that the start is fitted on
_TABLES = ("training", "shape")
_FOLDER = TrainingFolder(
    STAGE,
    "reader",
    (
        *("config.json", "generation_config.json", WEIGHTS_FILE, PACKED_FILE, SETTINGS_FILE, "training.json"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"),
    ),
)


def read_config(
    path: Path | None, settings: Sequence[str] = (), start: str | None = None, max_minutes: float | None = None
) -> LlamaReaderConfig:
    """The configuration in a TOML file, or the defaults, with KEY=VALUE settings ("training.epochs=2") and the named options over it.

    Raises ConfigError for unknown keys, with a suggestion, and for values that cannot be.
    """
    values = configured(path, settings, _TABLES)
    if start is not None:
        values["start"] = start
    if max_minutes is not None:
        values.setdefault("training", {})["max_minutes"] = max_minutes
    return from_mapping(LlamaReaderConfig, values, "train-reader" if path is None else str(path))


def train_llama(
    data: Path,
    config: LlamaReaderConfig,
    out: Path,
    resume: bool = False,
    exclude: Sequence[Path] = (),
    cloze: Sequence[Path] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest.

    Raises DataError where there is nothing to learn from, ArtefactError for an `out` that holds something else, an unfinished training
    that is not to be resumed, or a finished one that is not to be overwritten.
    """
    dataset = load_dataset(data, _splits(data, ("train", "dev")))
    inputs = _inputs(data, config, exclude, cloze)
    if is_current(out, STAGE, config, inputs, config.training.seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    _FOLDER.check(out, resume, overwrite)
    begun, training = time.monotonic(), config.training
    seed_everything(training.seed)
    held_out = [HeldOut.read(folder) for folder in exclude]
    asked, dev, left_out = choose_questions(
        dataset, held_out, config.max_questions, config.dev_questions, training.seed
    )
    hidden = _cloze(cloze, held_out, config)
    tokenizer, model = _start(config, asked)
    model.to(pick_device(config.device))
    settings = config.settings
    wrong = WrongPassages(dataset.corpus, config.hardest)
    cases = make_cases(dev, wrong, seed=training.seed)
    learnt = make_training_set(settings.maker(tokenizer), asked, wrong, config, hidden)
    reader = LlamaReader.of_model(model, tokenizer, settings, training.precision)
    learner = Learner(model, learnt.rows, tokenizer.pad_token_id or 0, config.learn_embeddings)
    progress = train(
        learner,
        AnswerObjective(model, learnt),
        learnt.examples(),
        lambda: _f1(reader, dev),
        training,
        out,
        resume,
        fingerprint(config, inputs, list(learnt.prompts), ("training", "storage")),
    )
    chosen = calibrate(reader, cases)
    _FOLDER.clear(out)
    tuned = reader.with_settings(temperature=chosen.temperature, min_confidence=chosen.min_confidence)
    save_reader(out, tokenizer, model, tuned.settings, config.storage)
    saved = LlamaReader.load(out, config.device)
    kinds = {kind: list(learnt.kinds).count(kind) for kind in ("passage", "cloze", "unanswerable")}
    facts = {
        "measure": f"F1 of {len(dev)} dev questions with their passage",
        "examples": len(learnt.kinds),
        "kinds": kinds,
        "left_out": {**left_out, **learnt.left_out},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "start_dev": progress.history[0]["dev"],
        "best_dev": progress.best,
        "saved_dev": _f1(saved.with_settings(min_confidence=0.0), dev),
        "calibration": chosen.facts(),
        "training_seconds": round(progress.seconds, 1),
        "seconds": round(progress.earlier_seconds + time.monotonic() - begun, 1),
    }
    write_json(out / "training.json", {**asdict(progress), "measure": facts["measure"]})
    manifest = write_manifest(out, STAGE, config, inputs, training.seed, **facts)
    discard_checkpoint(out)
    return manifest


def pack_reader(reader: Path, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """The same reader with its weights in int8, for shipping; returns its manifest, which tells how the first was made.

    Raises ArtefactError where `reader` is none, or `out` holds something else, or another reader that is not to be overwritten.
    """
    manifest = read_manifest(reader, STAGE, MADE_BY)
    _FOLDER.check(out, resume=False, overwrite=overwrite or out.resolve() == reader.resolve())
    settings, (tokenizer, model), curve = (
        read_settings(reader),
        load_network(reader),
        read_json(reader / "training.json"),
    )
    weights = next(path for path in (reader / PACKED_FILE, reader / WEIGHTS_FILE) if path.is_file())
    inputs = {**manifest["inputs"], "packed from": sha256_of(weights)}
    _FOLDER.clear(out)
    save_reader(out, tokenizer, model, settings, "int8")
    write_json(out / "training.json", curve)
    return write_manifest(
        out, STAGE, shipped(manifest["config"], "start"), inputs, manifest["seed"], **manifest["facts"]
    )


def _splits(data: Path, names: Sequence[str]) -> list[str]:
    """Those of the splits that there are; others are not even read."""
    return [split for split in names if (data / QRELS / f"{split}.tsv").is_file()]


def _inputs(data: Path, config: LlamaReaderConfig, exclude: Sequence[Path], cloze: Sequence[Path]) -> dict[str, str]:
    files = [
        data / CORPUS,
        data / QUERIES,
        *(data / QRELS / f"{split}.tsv" for split in _splits(data, ("train", "dev"))),
    ]
    read = {path.relative_to(data).with_suffix("").as_posix(): sha256_of(path) for path in files if path.is_file()}
    for label, folders, names in (
        ("excluded", exclude, (CORPUS, QUERIES, f"{QRELS}/dev.tsv", f"{QRELS}/test.tsv")),
        ("cloze", cloze, (CORPUS, f"{QRELS}/dev.tsv", f"{QRELS}/test.tsv")),
    ):
        for folder in folders:
            for name in names:
                if (folder / name).is_file():
                    key = f"{label} {folder.name}/{Path(name).with_suffix('').as_posix()}"
                    read[key] = sha256_of(folder / name)
    return {**read, "start": encoder_fingerprint(config.start)}


def _cloze(
    folders: Sequence[Path], held_out: Sequence[HeldOut], config: LlamaReaderConfig
) -> list[tuple[Query, Document]]:
    """Cloze questions of all corpora, shared out evenly. Raises DataError for a corpus that gives none."""
    made: list[tuple[Query, Document]] = []
    for number, folder in enumerate(folders):
        held = list(held_out)
        if (folder / QUERIES).is_file() and _splits(folder, ("dev", "test")):
            held.append(HeldOut.read(folder))
        corpus = list(read_corpus(folder / CORPUS))
        barred = {doc_id for one in held for doc_id in one.shared(corpus)}
        free = [document for document in corpus if document.doc_id not in barred]
        found = cloze_questions(free, config.max_cloze // len(folders), config.training.seed + number)
        if not found and config.max_cloze:
            raise DataError(
                f"--cloze {folder}: no sentence of its {len(free)} passages gives a question; expected texts in sentences, and passages "
                f"that no dev or test question is about ({len(barred)} are left out for that)"
            )
        made += found
    return made


def _start(config: LlamaReaderConfig, asked: Asked) -> tuple[Any, Any]:
    """A reader that learns on, or one that starts from an encoder."""
    folder = Path(config.start)
    if (folder / SETTINGS_FILE).is_file():
        return load_network(folder)
    texts = list(dict.fromkeys(passage.text for _, passage in asked))
    step = max(1, len(texts) // _SAMPLED)
    return new_network(config.start, config.shape, texts[::step], config.training.seed)


def _f1(reader: LlamaReader, asked: Asked) -> float:
    """Mean F1 where each question is read with its own passage and must be answered."""
    readings = reader.read([query.text for query, _ in asked], [[passage] for _, passage in asked])
    scores = [f1(one.text, query.answers) for one, (query, _) in zip(readings, asked, strict=True)]
    return round(sum(scores) / len(scores), 6)
