"""The training stage: a data folder and its identifiers -> a model folder.

How a model is built for its identifiers, trained on what `experiments.examples` makes, measured on the dev split while it learns, and
kept.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from docids.learned import codes_of
from docids.ngram import NAME as NGRAM
from docids.ngram import NgramTable
from docids.table import DocIDTable
from docids.views import ViewsTable
from experiments.data_stage import tell_reused
from experiments.examples import DevSet, ExamplesConfig, make_examples
from experiments.identifiers import Identifiers, load_identifiers, make_searcher, one_each
from experiments.learned_identifiers import LearnedConfig, Lesson, discard_rounds, learn_identifiers
from experiments.material import gather_pseudo_queries
from experiments.model_folder import MATERIAL, WRITTEN, inputs_of
from experiments.ngram_examples import NgramConfig, ngram_examples
from experiments.teaching import TeacherConfig, ask_teacher
from experiments.training_folder import TrainingFolder, fingerprint
from experiments.view_examples import check_views, view_examples
from genir.config import from_mapping, load_toml
from genir.devices import pick_device, seed_everything
from genir.distillation import TaughtRankingObjective, TeacherTable, Teaching
from genir.errors import ArtefactError, ConfigError
from genir.formats import load_dataset
from genir.manifest import (
    MANIFEST,
    is_current,
    read_manifest,
    write_json,
    write_manifest,
)
from genir.measures import evaluate
from genir.models.causal import CausalModel
from genir.models.causal_config import CausalConfig
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.models.seq2seq import Seq2SeqConfig, Seq2SeqModel
from genir.objectives import CrossEntropyObjective, Objective, RankingObjective
from genir.pseudo_queries import PseudoQuery
from genir.records import Dataset
from genir.training import TrainingConfig, discard_checkpoint
from genir.view_ranking import ViewRankingObjective
from retrievers.generative import GenerativeSettings

STAGE = "model"
MADE_BY = "genir train"
_FOLDER = TrainingFolder(STAGE, "model", WRITTEN)
DEV_MEASURE = "RR@10"


@dataclass(frozen=True)
class ObjectiveConfig:
    """`ranking` for code_decoder (see genir.objectives), `cross_entropy` for any model.

    `self_distillation` is the weight of coming near to the model's own moving average, whose decay is `self_decay`.
    """

    kind: Literal["ranking", "cross_entropy"] = "ranking"
    prefixes: tuple[int, ...] = (1, 2, 4)
    hard_negatives: int = 15
    scale: float = 20.0
    self_distillation: float = 0.0
    self_decay: float = 0.99

    def __post_init__(self) -> None:
        if min(self.prefixes, default=1) < 1 or self.hard_negatives < 0 or self.scale <= 0:
            raise ConfigError(f"impossible objective: {self}; expected prefixes >= 1, hard_negatives >= 0, scale > 0")
        if self.self_distillation < 0 or not 0 <= self.self_decay < 1:
            raise ConfigError(f"impossible objective: {self}; expected self_distillation >= 0, self_decay in 0..1")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that `genir train --config FILE` may set. Unknown keys are refused."""

    architecture: Literal["code_decoder", "seq2seq", "causal"] = "code_decoder"
    code_decoder: CodeDecoderConfig = field(default_factory=CodeDecoderConfig)
    seq2seq: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)
    causal: CausalConfig = field(default_factory=CausalConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    learned: LearnedConfig = field(default_factory=LearnedConfig)
    search: GenerativeSettings = field(default_factory=lambda: GenerativeSettings(num_beams=100))
    ngram: NgramConfig = field(default_factory=NgramConfig)  # for identifiers of scheme ngram, their search included
    dev_queries: int = 500  # at most so many are searched at each evaluation
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.dev_queries < 1:
            raise ConfigError(f"dev_queries is {self.dev_queries}: expected 1 or more")
        if self.objective.kind != "ranking" and (self.teacher.source != "none" or self.objective.self_distillation):
            raise ConfigError(
                f"a teacher and self_distillation are for objective 'ranking', got {self.objective.kind!r}: "
                'set [teacher] source = "none" and [objective] self_distillation = 0'
            )

        if self.learned.rounds and self.architecture != "code_decoder":
            raise ConfigError(
                f"[learned] rounds = {self.learned.rounds}: identifiers are learned by code_decoder only, got {self.architecture!r}"
            )

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


def train_model(
    data: Path, docids: Path, config: ModelConfig, out: Path, resume: bool = False, cache: Path | None = None
) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest. Raises ArtefactError for identifiers of another corpus.

    `cache` keeps what models made for training (queries, a teacher's rankings) for other trainings, too.
    """
    dataset = load_dataset(data)
    made = read_manifest(docids, "docids", "genir docids build")
    inputs = inputs_of(dataset, data, docids, config.pretrained, config.examples.generator, config.teacher)
    check_same_corpus(made, inputs["corpus"], docids, data)
    if is_current(out, STAGE, config, inputs, config.training.seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    if (out / "docids" / MANIFEST).is_file():  # a model's own copy has no manifest
        raise ArtefactError(f"{out}: already holds identifiers ({out / 'docids'}); give the name of a new folder")
    _FOLDER.check(out, resume)
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
        "seconds": round(time.monotonic() - begun, 1),
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
    alike: list[list[int]] | None = None
    if isinstance(given, NgramTable):
        examples, identifiers = ngram_examples(examples, given, config.ngram)
    if isinstance(given, ViewsTable):
        examples, identifiers, alike = view_examples(examples, given)
    facts = {
        "examples": len(examples),
        "material": {**material, **about, "examples": dict(Counter(example.kind for example in examples))},
        "measure": f"{DEV_MEASURE} on {dev.name}",
    }
    objective = make_objective(config, model, identifiers, teacher, alike)
    return Lesson(examples, objective, _dev_figure(model, searched, dev, config), facts)


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
    if table.scheme == NGRAM and config.architecture == "code_decoder":
        raise ConfigError(
            'n-gram identifiers are pieces of text, which code_decoder does not write: set architecture = "seq2seq" or "causal", '
            'with [objective] kind = "cross_entropy"'
        )
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
        if table.scheme == NGRAM:
            model.end_token = None  # an n-gram ends anywhere: nothing is written behind it
    else:
        longest = max(lengths) + (end_token is not None)
        model = CodeDecoder(config.code_decoder, vocab_size, longest, end_token)
        if table.codebooks is not None:
            model.start_from_codebooks(table.codebooks)
    model.precision = config.training.precision
    return model.to(device)


def make_objective(
    config: ModelConfig,
    model: Any,
    identifiers: Sequence[tuple[int, ...]],
    teacher: TeacherTable | None = None,
    alike: Sequence[Sequence[int]] | None = None,
) -> Objective:
    """The objective that a configuration names; of several views a document, `alike` says which identifiers belong together."""
    settings, taught = config.objective, config.teacher
    if settings.kind == "cross_entropy":
        return CrossEntropyObjective(model, identifiers)
    ranked = (settings.prefixes, settings.hard_negatives, settings.scale)
    if alike is not None:
        return ViewRankingObjective(model, identifiers, alike, *ranked)
    ranking = (model, identifiers, *ranked)
    if teacher is None and not settings.self_distillation:
        return RankingObjective(*ranking)
    teaching = Teaching(
        teacher,
        taught.negatives,
        taught.distance,
        taught.weight,
        taught.sharpness,
        settings.self_distillation,
        settings.self_decay,
    )
    return TaughtRankingObjective(*ranking, teaching)


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
