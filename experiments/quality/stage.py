"""What the experiments about quality are made of: baselines at their best, and our models seed by seed, on one data set.

    bm25                      fields, k1 and b tuned on train and dev  bm25_default   title and text, .9, .4
    dense                     the encoder as it comes                  dense_finetuned   on the training questions
    hybrid                    bm25 and dense_finetuned, tuned on dev   hybrid_zero_shot  bm25 and dense
    dense_views               dense_finetuned over the texts of views, of which the best counts (where identifiers may be views)
    hybrid_views              bm25 and dense_views, tuned on dev
    hybrid_terms              generative_terms_only in bm25's place: what the model's terms bring to a hybrid (of views where codes are)
    generative                codes and terms of one model, searched with planning ahead; identifiers are those whose codes are best on dev
    generative_sequence_only  its codes alone
    generative_terms_only     its terms alone, over all documents
    generative_random_ids     the control: the same training over identifiers that say nothing

Invariants: everything that learns does so from the same questions, all of the training split or those that `max_questions` leaves; texts of
the documents, which models read beside them and encoders read as passages, are no questions. What is tuned or stopped early is so on dev,
BM25 on the training questions, too. A seed has its own fine-tuned encoder, and that seed's models start from it. What something cost to
build counts what it was made of, and all identifiers that it was chosen from; nothing that is timed reads kept embeddings. Every folder and
run is reused where it was made of the same data and settings, and otherwise stands beside the new one.

Known gaps: a change of this code makes nothing anew; what a query writer or a teacher cost counts for the model that asked first.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from docids.views import ViewsScheme
from experiments.data_stage import build_docids
from experiments.quality.config import FINE_TUNED, QualityConfig, SchemeChoice, seeded
from experiments.quality.kept_runs import KeptRuns, digest
from experiments.quality.training_questions import fewer_questions
from experiments.quality.tuned_baselines import build_baselines, build_dense
from experiments.registry import make_scheme, parse_settings
from experiments.reranking import RerankChoice, rerank
from experiments.retrieval import Built, build_hybrid, build_passages, build_retriever
from experiments.training.dense import train_dense
from experiments.training.model import train_model
from experiments.training.model_config import ModelConfig
from experiments.training.model_folder import history_of
from experiments.training.rerank import RerankConfig, train_rerank
from experiments.training.terms import train_terms
from genir.config import from_mapping
from genir.embedding import encoder_fingerprint
from genir.errors import ConfigError
from genir.formats import QRELS, QUERIES, load_dataset
from genir.manifest import MANIFEST, sha256_of, write_json
from genir.records import Dataset, Fields
from retrievers.bm25 import BM25Settings
from retrievers.index_files import read_json
from retrievers.planning import PlanningRetriever, TermsRetriever, UnguidedRetriever
from retrievers.tuning import BM25Grid

_UNCUT = 10**9  # examples of terms: what all learn from is cut before


@dataclass
class QualityStage:
    """One data set under one configuration, and its folders under `work`; `questions` says what is learnt from."""

    dataset: Dataset
    data: Path
    work: Path
    config: QualityConfig
    questions: int
    splits: Sequence[str]
    kept: KeptRuns = field(init=False)
    _encoders: dict[int, tuple[Path, dict[str, Any]]] = field(default_factory=dict)
    # By seed: the fine-tuned encoder's index where it was made here, its index of views, the terms alone with what they are made of,
    # and which identifiers were best on dev.
    _dense: dict[int, Built] = field(default_factory=dict)
    _views: dict[int, Built] = field(default_factory=dict)
    _terms: dict[int, tuple[Built, Mapping[str, str]]] = field(default_factory=dict)
    _chosen: dict[int, SchemeChoice] = field(default_factory=dict)
    _tuned_bm25: Mapping[str, Any] = field(default_factory=dict)  # its settings

    def __post_init__(self) -> None:
        self.kept = KeptRuns(self.dataset, self.data, self.work, self.splits)

    @classmethod
    def of(cls, data: Path, work: Path, config: QualityConfig, share: float = 1.0) -> "QualityStage":
        """A share of the questions that are learnt from, at least one; they are drawn by the first seed.

        Raises ConfigError for a data set without a split to tune on, or without one to compare on.
        """
        dataset = load_dataset(data)
        splits = [split for split in dataset.qrels if split not in ("train", "dev")]
        if not splits:
            raise ConfigError(f"{data}: has no split to compare on beside train and dev; add qrels/test.tsv")
        if not dataset.qrels.get("dev"):
            raise ConfigError(f"{data}: has no dev split to tune on; add qrels/dev.tsv")
        questions = len(dataset.qrels.get("train", ()))
        if questions:
            questions = max(1, round(share * min(questions, config.max_questions or questions)))
        chosen = fewer_questions(dataset, data, work / "data", questions, config.seeds[0])
        return cls(dataset if chosen == data else load_dataset(chosen), chosen, work, config, questions, splits)

    def under(self, config: QualityConfig) -> "QualityStage":
        """The same data under another configuration, which learns from as many questions."""
        return QualityStage(self.dataset, self.data, self.work, config, self.questions, self.splits)

    def runs(self, split: str) -> dict[str, list[Path]]:
        """System -> its run files, one a seed."""
        return self.kept.paths[split]

    def baselines(self) -> dict[str, Any]:
        """Everything that is not generative; what there is to say about it."""
        encoders = {"dense": self.config.encoder}
        encoders |= {f"{FINE_TUNED} {seed}": str(self.encoder(seed)[0]) for seed in self.config.seeds}
        made_of = {name: encoder_fingerprint(encoder) for name, encoder in encoders.items()}
        asked = {split: self.kept.asked(split) for split in self.dataset.qrels}
        choices = BM25Grid(), get_args(Fields)  # what is tried on dev
        tuning = digest(made_of, self.kept.corpus, asked, self.config.measure, *choices)
        about = self.kept.first_runs(tuning, lambda: self._search_baselines(encoders, made_of))
        self._tuned_bm25 = about["bm25"]["settings"]
        for seed in self.config.seeds:
            folder, trained = self.encoder(seed)
            about[f"{FINE_TUNED}, seed {seed}"] |= _trained(trained, folder)
        return about

    def encoder(self, seed: int) -> tuple[Path, dict[str, Any]]:
        """The encoder that learnt from the training questions with a seed, and its manifest; that seed's models start from it."""
        if seed not in self._encoders:
            settings = seeded(replace(self.config.dense, encoder=self.config.encoder, max_pairs=0), seed)
            out = self.work / "encoders" / self._name(settings)
            self._encoders[seed] = out, train_dense(self.data, settings, out, resume=True, overwrite=True)
        return self._encoders[seed]

    def generative(self, seed: int) -> dict[str, Any]:
        """One seed's identifiers, models and runs; of views that are summed there are no terms, hence codes alone."""
        config = self.config
        model, about, tried = self._best_on_dev(seed)
        before = about["identifiers"]["seconds"] + tried
        self.kept.search("generative_sequence_only", _costing(self._built(model), before), _made_of(model))
        facts = {f"generative_sequence_only, seed {seed}": about}
        if self._chosen[seed].are_summed:
            return facts
        terms = seeded(replace(config.terms, max_examples=_UNCUT), seed)
        planned = model.with_name(f"{model.name}-terms-{digest(terms)}")
        added = train_terms(self.data, model, terms, planned, resume=True)
        facts[f"generative, seed {seed}"] = _trained(added, planned / "terms")
        whole = _costing(self._built(planned), before)
        assert isinstance(whole.retriever, PlanningRetriever)
        alone = replace(whole, retriever=TermsRetriever(whole.retriever), settings={**whole.settings, "alone": True})
        self.kept.search("generative_terms_only", alone, _made_of(planned))
        self._terms[seed] = alone, _made_of(planned)
        if not config.planning:
            settings = {**whole.settings, "planning": False}
            whole = replace(whole, retriever=UnguidedRetriever.of(whole.retriever), settings=settings)
        if config.rerank_head:
            learning = seeded(RerankConfig(max_queries=max(1, self.questions)), seed)
            planned, source = model.with_name(f"{planned.name}-head-{digest(learning)}"), planned
            head = train_rerank(self.data, source, learning, planned)["facts"]
            whole = replace(whole, build_seconds=whole.build_seconds + head["rerank_seconds"])
            whole = rerank(whole, RerankChoice("head", depth=learning.depth), self.dataset, planned)
            facts[f"generative, seed {seed}"]["rerank"] = head
        self.kept.search("generative", whole, _made_of(planned))
        return facts

    def hybrid_of_terms(self, seed: int) -> dict[str, Any]:
        """The terms of that seed's model beside its encoder, tuned and fused as BM25 is; nothing for a model without terms."""
        if seed not in self._terms:
            return {}
        terms, made_of = self._terms[seed]
        encoder = str(self.encoder(seed)[0])

        def mixed() -> tuple[Built, dict[str, Any]]:
            if self._chosen[seed].are_views:
                dense = self._over_views(seed)
            else:
                dense = self._dense.get(seed) or build_dense(self.dataset, self.data, encoder, self.config.measure)
            learnt = float(dense.settings["training_seconds"])  # counted with the terms' model
            return self._tuned_hybrid(terms, replace(dense, build_seconds=dense.build_seconds - learnt))

        made_of = {**made_of, "encoder": encoder_fingerprint(encoder)}
        tuned = self.kept.search_once("hybrid_terms", self._tuning(), made_of, mixed)
        return {f"hybrid_terms, seed {seed}": {"tuned": tuned}}

    def views(self, seed: int) -> dict[str, Any]:
        """That seed's encoder over the texts of views, alone and beside the BM25 that `baselines` tuned; nothing where there are none."""
        if self.config.views is None:
            return {}
        assert self._tuned_bm25, "baselines come first"
        made_of = {"encoder": encoder_fingerprint(str(self.encoder(seed)[0]))}
        of_texts = {"scheme": digest(self.config.views.scheme, seed)}
        tuning = of_texts | self._tuning() | {"bm25": digest(self._tuned_bm25)}

        def alone() -> tuple[Built, dict[str, Any]]:
            return self._over_views(seed), {}

        def mixed() -> tuple[Built, dict[str, Any]]:
            settings = from_mapping(BM25Settings, self._tuned_bm25, "the tuned BM25")
            bm25 = build_retriever("bm25", self.dataset, self.data, bm25=settings)
            return self._tuned_hybrid(bm25, self._over_views(seed))

        self.kept.search_once("dense_views", of_texts, made_of, alone)
        return {f"hybrid_views, seed {seed}": {"tuned": self.kept.search_once("hybrid_views", tuning, made_of, mixed)}}

    def control(self, seed: int) -> dict[str, Any]:
        """Training over random identifiers of the same shape as that seed's, one a document."""
        assert seed in self._chosen, "the generative model comes first"
        shape = [pair for pair in self._chosen[seed].scheme if parse_settings([pair]).keys() & {"levels", "codes"}]
        model, about = self._learnt("random", shape, seed)
        codes = _costing(self._built(model), about["identifiers"]["seconds"])
        self.kept.search("generative_random_ids", codes, _made_of(model))
        return {f"generative_random_ids, seed {seed}": about}

    def _best_on_dev(self, seed: int) -> tuple[Path, dict[str, Any], float]:
        """Of the choices the one whose codes are best on dev, as `_learnt`; and the seconds that the others took."""
        choices = self.config.choices
        learnt = [self._learnt(one.identifiers, one.scheme, seed) for one in choices]
        trainings = [about["training"] for _, about in learnt]
        seconds = [about["training"]["seconds"] + about["identifiers"]["seconds"] for _, about in learnt]
        best = max(range(len(choices)), key=lambda i: trainings[i]["best_dev"])  # the first where they are level
        self._chosen[seed] = choices[best]
        model, about = learnt[best]
        if len(choices) > 1:
            about["chosen_from"] = [
                {**asdict(one), "dev": made["best_dev"], "measure": made["measure"], "seconds": took}
                for one, made, took in zip(choices, trainings, seconds, strict=True)
            ]
        return model, about, sum(seconds) - seconds[best]

    def _learnt(self, scheme: str, settings: Sequence[str], seed: int) -> tuple[Path, dict[str, Any]]:
        """Identifiers and a model for them: its folder, and what there is to say about both."""
        encoder = str(self.encoder(seed)[0])
        chosen = (*settings, f"seed={seed}")
        docids = self.work / "docids" / f"{scheme}-{digest(chosen)}-{Path(encoder).name}"
        begun = time.monotonic()
        made = build_docids(self.data, docids, scheme, chosen, encoder, None)
        noted = docids.with_name(f"{docids.name}.json")  # what making them took, when they were made
        if not noted.is_file() or read_json(noted)["made_at"] != made["made_at"]:
            write_json(noted, {"made_at": made["made_at"], "seconds": round(time.monotonic() - begun, 1)})
        identifiers = made["facts"] | {"seconds": read_json(noted)["seconds"]}
        sequence = self._sequence(encoder, seed)
        model = self.work / "models" / f"{scheme}-{digest(chosen)}-{Path(encoder).name}-{digest(sequence)}"
        cache = self.work / "cache"
        trained = train_model(self.data, docids, sequence, model, resume=True, cache=cache, overwrite=True)
        return model, {**_trained(trained, model), "identifiers": identifiers}

    def _sequence(self, encoder: str, seed: int) -> ModelConfig:
        """The model's configuration with its seed, started from the fine-tuned encoder."""
        sequence = seeded(self.config.sequence, seed)
        teacher = sequence.teacher
        if teacher.model == FINE_TUNED:
            teacher = replace(teacher, model=encoder)
        return replace(sequence, code_decoder=replace(sequence.code_decoder, encoder=encoder), teacher=teacher)

    def _built(self, model: Path) -> Built:
        return build_retriever("generative", self.dataset, self.data, model)

    def _over_views(self, seed: int) -> Built:
        """The index of the encoder over the texts of views, built once."""
        if seed not in self._views:
            encoder = str(self.encoder(seed)[0])
            assert self.config.views is not None
            settings = parse_settings((*self.config.views.scheme, f"seed={seed}"))
            scheme = make_scheme(self.config.views.identifiers, settings, encoder, None)
            assert isinstance(scheme, ViewsScheme)
            texts = {doc_id: [text for _, text in own] for doc_id, own in scheme.texts(self.dataset.corpus).items()}
            self._views[seed] = build_passages(texts, encoder)
        return self._views[seed]

    def _tuned_hybrid(self, first: Built, second: Built) -> tuple[Built, dict[str, Any]]:
        hybrid, best = build_hybrid(first, second, self.dataset, self.config.measure)
        return hybrid, asdict(best)

    def _tuning(self) -> dict[str, str]:
        """What tuning on dev depends on."""
        return {"measure": self.config.measure, "dev": digest(self.kept.asked("dev"))}

    def _search_baselines(self, encoders: Mapping[str, str], made_of: Mapping[str, str]) -> dict[str, Any]:
        """Tune, build and search them; how they were tuned."""
        made = build_baselines(self.dataset, self.data, encoders, self.config.measure)
        for name in ("bm25_default", "bm25"):
            self.kept.search(name, made.built[name], {})
        about: dict[str, Any] = {"bm25": {"settings": asdict(made.bm25.settings), "dev": made.bm25.value}}
        for name, fingerprint in made_of.items():
            shown, _, seed = name.partition(" ")
            hybrid = "hybrid" if seed else "hybrid_zero_shot"
            read = {key: value for key, value in made.built[name].settings.items() if key in ("fields", "dev")}
            about[f"{shown}, seed {seed}" if seed else shown] = read
            self.kept.search(shown, made.built[name], {"encoder": fingerprint})
            if seed:
                self._dense[int(seed)] = made.built[name]
            self.kept.search(hybrid, made.built[f"hybrid_{name}"], {"encoder": fingerprint})
            tuned = {"tuned": asdict(made.hybrids[f"hybrid_{name}"])}
            about[f"{hybrid}, seed {seed}" if seed else hybrid] = tuned
        return about

    def _name(self, settings: object) -> str:
        """A folder's name for what learns by `settings` from this corpus and these questions."""
        files = [self.data / QRELS / f"{split}.tsv" for split in ("train", "dev") if split in self.dataset.qrels]
        return digest(settings, self.kept.corpus, sha256_of(self.data / QUERIES), *map(sha256_of, files))


def _trained(manifest: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What there is to say about a training: its facts, when and by which commit it was done, its course."""
    made = {"made_at": manifest["made_at"], "git_commit": manifest["git_commit"]}
    return {"training": manifest["facts"], **made, "history": history_of(folder)}


def _costing(built: Built, identifiers: float) -> Built:
    """With what its identifiers took to make; the training of the encoder is counted already."""
    return replace(built, build_seconds=built.build_seconds + identifiers)


def _made_of(model: Path) -> dict[str, str]:
    return {"model": sha256_of(model / MANIFEST)}
