"""The training stage: a data folder and its identifiers -> a model folder.

How a model is built for its identifiers, trained on what `experiments.examples` makes, measured on the dev split while it learns, and
kept.
"""

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from docids.table import DocIDTable
from experiments.data_stage import tell_reused
from experiments.examples import DevSet, ExamplesConfig, make_examples
from genir.config import from_mapping, load_toml
from genir.devices import pick_device, seed_everything
from genir.embedding import encoder_fingerprint
from genir.errors import ArtefactError, ConfigError
from genir.formats import CORPUS, QRELS, QUERIES, load_dataset
from genir.manifest import (
    MANIFEST,
    check_out,
    is_current,
    read_manifest,
    sha256_of,
    write_json,
    write_manifest,
)
from genir.measures import evaluate
from genir.models.causal import CausalModel
from genir.models.causal_config import CausalConfig
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.models.seq2seq import Seq2SeqConfig, Seq2SeqModel
from genir.objectives import CrossEntropyObjective, Objective, RankingObjective
from genir.records import Dataset
from genir.training import BEST, CHECKPOINT, TrainingConfig, discard_checkpoint, train
from retrievers.generative import GenerativeRetriever, GenerativeSettings

STAGE = "model"
MADE_BY = "genir train"
DEV_MEASURE = "RR@10"
# What a model folder may hold beside its manifest; code_decoder writes encoder/, seq2seq network/.
_WRITTEN = (
    *("config.json", "encoder", "model.safetensors", "network", "own_embedding.safetensors"),
    *("docids", "titles.json", "training.json"),
)


@dataclass(frozen=True)
class ObjectiveConfig:
    """`ranking` for code_decoder (see genir.objectives), `cross_entropy` for any model."""

    kind: Literal["ranking", "cross_entropy"] = "ranking"
    prefixes: tuple[int, ...] = (1, 2, 4)
    hard_negatives: int = 15
    scale: float = 20.0

    def __post_init__(self) -> None:
        if min(self.prefixes, default=1) < 1 or self.hard_negatives < 0 or self.scale <= 0:
            raise ConfigError(f"impossible objective: {self}; expected prefixes >= 1, hard_negatives >= 0, scale > 0")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that `genir train --config FILE` may set. Unknown keys are refused."""

    architecture: Literal["code_decoder", "seq2seq", "causal"] = "code_decoder"
    code_decoder: CodeDecoderConfig = field(default_factory=CodeDecoderConfig)
    seq2seq: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)
    causal: CausalConfig = field(default_factory=CausalConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    search: GenerativeSettings = field(default_factory=lambda: GenerativeSettings(num_beams=100))
    dev_queries: int = 500  # at most so many are searched at each evaluation
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.dev_queries < 1:
            raise ConfigError(f"dev_queries is {self.dev_queries}: expected 1 or more")

    @classmethod
    def read(cls, path: Path | None) -> "ModelConfig":
        """The configuration in a TOML file, or the defaults."""
        return cls() if path is None else from_mapping(cls, load_toml(path), str(path))

    @property
    def pretrained(self) -> str:
        """The encoder, network or tokenizer that the model starts from."""
        if self.architecture == "code_decoder":
            return self.code_decoder.encoder
        network = self.seq2seq if self.architecture == "seq2seq" else self.causal
        return network.source or network.tokenizer


def train_model(data: Path, docids: Path, config: ModelConfig, out: Path, resume: bool = False) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest. Raises ArtefactError for identifiers of another corpus."""
    dataset = load_dataset(data)
    made = read_manifest(docids, "docids", "genir docids build")
    inputs = _inputs(dataset, data, docids, config)
    check_same_corpus(made, inputs["corpus"], docids, data)
    if is_current(out, STAGE, config, inputs, config.training.seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    check_out(out, (*_WRITTEN, CHECKPOINT, BEST))
    if (out / "docids" / MANIFEST).is_file():  # a model's own copy has no manifest
        raise ArtefactError(f"{out}: already holds identifiers ({out / 'docids'}); give the name of a new folder")
    if (out / MANIFEST).is_file():
        warnings.warn(f"{out}: holds a finished model of other inputs or settings; it will be replaced", stacklevel=2)
    if (out / CHECKPOINT).is_file() and not resume:
        raise ArtefactError(
            f"{out}: holds an unfinished training; go on with --resume, or delete {CHECKPOINT} there to begin anew"
        )
    begun = time.monotonic()
    table = DocIDTable.load(docids)
    seed_everything(config.training.seed)  # before the fresh weights are drawn
    model = build_model(config, table)
    examples, dev = make_examples(dataset, table, config.examples, config.dev_queries)
    identifiers = table.identifiers()
    objective = make_objective(config, model, identifiers)
    figure = _dev_figure(model, table, dev, config)
    made_of = _fingerprint(config, inputs)
    progress = train(model, objective, examples, figure, config.training, out, resume, made_of)
    facts = {
        "scheme": table.scheme,
        "documents": len(table),
        "examples": len(examples),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "measure": f"{DEV_MEASURE} on {dev.name}",
        "best_dev": progress.best,
        "start_dev": progress.history[0]["dev"],
        "seconds": round(time.monotonic() - begun, 1),
    }
    _clear(out)
    model.save(out)
    table.save(out / "docids")
    write_json(out / "titles.json", {document.doc_id: document.title for document in dataset.corpus})
    write_json(out / "training.json", {**asdict(progress), "measure": facts["measure"]})
    manifest = write_manifest(out, STAGE, config, inputs, config.training.seed, **facts)
    discard_checkpoint(out)
    return manifest


def _inputs(dataset: Dataset, data: Path, docids: Path, config: ModelConfig) -> dict[str, str]:
    """sha256 of everything that training reads; the test split's judgements are not among it."""
    files = [
        data / CORPUS,
        data / QUERIES,
        *(data / QRELS / f"{split}.tsv" for split in dataset.qrels if split != "test"),
    ]
    read = {path.relative_to(data).with_suffix("").as_posix(): sha256_of(path) for path in files if path.is_file()}
    return {**read, "docids": sha256_of(docids), "pretrained": encoder_fingerprint(config.pretrained)}


def _fingerprint(config: ModelConfig, inputs: Mapping[str, str]) -> str:
    """What a checkpoint must have been made of to be resumed: everything but when to stop, which TrainingConfig decides."""
    plain = {name: value for name, value in asdict(config).items() if name != "training"}
    return hashlib.sha256(json.dumps([plain, dict(inputs)], sort_keys=True).encode()).hexdigest()


def _clear(out: Path) -> None:
    """Remove an earlier model, its manifest first: from there on the folder counts as unfinished."""
    (out / MANIFEST).unlink(missing_ok=True)
    for name in _WRITTEN:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def check_same_corpus(manifest: Mapping[str, Any], corpus: str, artefact: Path, data: Path) -> None:
    """Raises ArtefactError where an artefact was made from another corpus than that of the data folder."""
    made_from = manifest["inputs"].get("corpus")
    if made_from != corpus:
        raise ArtefactError(
            f"{artefact}: made for another corpus (sha256 {str(made_from)[:12]}) than {data} ({corpus[:12]}); "
            "give the data folder it was made from, or make it again"
        )


def build_model(config: ModelConfig, table: DocIDTable) -> Any:
    """An untrained model for a table's identifiers, started from its codebooks where it has any."""
    device = pick_device(config.device)
    identifiers = table.identifiers()
    lengths = {len(tokens) for tokens in identifiers}
    # Identifiers of one length end by themselves; of several lengths, one may be a prefix of another.
    end_token = None if len(lengths) == 1 else table.vocab_size
    vocab_size = table.vocab_size + (end_token is not None)
    if config.architecture != "code_decoder":
        if config.objective.kind == "ranking":
            raise ConfigError(
                f"objective 'ranking' is for code_decoder; give {config.architecture} [objective] kind = \"cross_entropy\""
            )
        own = table.tokenizer is None
        if not own and table.tokenizer != config.pretrained:
            raise ConfigError(
                f"the identifiers are written in tokens of {table.tokenizer!r}, but the model reads and writes those of "
                f"{config.pretrained!r}: build them with `--set tokenizer={config.pretrained}`"
            )
        vocabulary = (vocab_size, end_token) if own else (None, None)
        if config.architecture == "seq2seq":
            model: Any = Seq2SeqModel.build(config.seq2seq, *vocabulary)
        else:
            model = CausalModel.build(config.causal, *vocabulary)
    else:
        longest = max(lengths) + (end_token is not None)
        model = CodeDecoder(config.code_decoder, vocab_size, longest, end_token)
        if table.codebooks is not None:
            model.start_from_codebooks(table.codebooks)
    model.precision = config.training.precision
    return model.to(device)


def make_objective(config: ModelConfig, model: Any, identifiers: Sequence[tuple[int, ...]]) -> Objective:
    """The objective that a configuration names."""
    settings = config.objective
    if settings.kind == "cross_entropy":
        return CrossEntropyObjective(model, identifiers)
    return RankingObjective(model, identifiers, settings.prefixes, settings.hard_negatives, settings.scale)


def _dev_figure(model: Any, table: DocIDTable, dev: DevSet, config: ModelConfig) -> Callable[[], float]:
    """A function that searches the dev queries with the model as it is and returns the mean of DEV_MEASURE."""
    search = replace(config.search, num_beams=min(config.search.num_beams, 50))
    retriever = GenerativeRetriever(model, table, search)

    def figure() -> float:
        if not dev.queries:
            return 0.0
        model.eval()
        run = retriever.search(dev.queries, k=min(10, search.num_beams))
        model.train()
        return round(evaluate(run, dev.qrels, [DEV_MEASURE]).means[DEV_MEASURE], 6)

    return figure
