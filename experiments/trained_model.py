"""A trained model's folder, loaded: what it is searched and asked with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docids.ngram import NgramTable
from docids.views import ViewsTable
from experiments.identifiers import Identifiers, load_identifiers, make_searcher
from experiments.registry import model_loaders, option_of
from experiments.training.model import MADE_BY, STAGE
from genir.config import from_mapping
from genir.devices import Precision, pick_device
from genir.errors import ArtefactError, ConfigError
from genir.manifest import read_manifest
from genir.models.term_head import TermHead
from genir.records import DocIDTokens, Run
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.index_files import read_json
from retrievers.ngram import NgramRetriever, NgramSettings
from retrievers.views import ViewsSettings

SHOWN_NGRAMS = 3
TERMS, RERANK = "terms", "rerank"  # folders within a model's


@dataclass(frozen=True)
class TrainedModel:
    """A model folder, loaded: the model, its identifiers, the titles of its documents, and how it is to be searched."""

    model: Any
    table: Identifiers
    titles: Mapping[str, str]
    search: GenerativeSettings | NgramSettings
    manifest: Mapping[str, Any]
    terms: TermHead | None = None  # what `genir train-terms` added

    @classmethod
    def load(cls, folder: Path, device: str = "auto", precision: Precision = "auto") -> "TrainedModel":
        """Raises ArtefactError where the folder is unfinished, broken, or no model."""
        manifest = read_manifest(folder, STAGE, MADE_BY)
        saved = read_json(folder / "config.json")
        loaders = model_loaders()
        architecture = saved.get("architecture") if isinstance(saved, dict) else None
        if architecture not in loaders:
            raise ArtefactError(
                f"{folder / 'config.json'}: unknown architecture {architecture!r}; train the model again"
            )
        table = load_identifiers(folder / "docids")
        try:
            model = loaders[architecture](folder, saved).to(pick_device(device)).eval()
            search = _search_settings(table, manifest["config"], str(folder))
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(
                f"{folder / 'config.json'}: incomplete, or not of this version ({error!r}); train the model again"
            ) from None
        model.precision = precision
        terms = TermHead.load(folder / TERMS).to(model.device) if (folder / TERMS).is_dir() else None
        return cls(model, table, read_json(folder / "titles.json"), search, manifest, terms)

    def retriever(self, changed: Mapping[str, Any] | None = None) -> GenerativeRetriever | NgramRetriever:
        """Constrained search with the settings it was trained with, less those that are `changed`.

        Raises ConfigError for a setting that the search of n-grams does not have.
        """
        return make_searcher(self.model, self.table, replace(self.search, **self._checked(changed or {})), self.terms)

    def answer_rows(self, question: str, k: int, changed: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The best k documents for one question, each with the identifier that the model wrote, or with the n-grams as text."""
        searcher = self.retriever(changed)
        if isinstance(searcher, NgramRetriever):
            [found] = searcher.write([question])
            ranking, held = Run.rank(searcher.score(found), k), searcher.evidence(found)
            key, why = "ngrams", {one.doc_id: self._texts(held[one.doc_id][:SHOWN_NGRAMS]) for one in ranking}
        else:
            answered = searcher.answer(question, k)
            ranking = tuple(one for one, _ in answered)
            key, why = "docid_tokens", {one.doc_id: " ".join(map(str, tokens)) for one, tokens in answered}
        return [
            {"rank": rank, "score": one.score, "doc_id": one.doc_id, "title": self.titles.get(one.doc_id, ""),
             key: why[one.doc_id]}
            for rank, one in enumerate(ranking, 1)
        ]  # fmt: skip

    def _texts(self, ngrams: Sequence[DocIDTokens]) -> str:
        return " | ".join(self.model.tokenizer.batch_decode(list(map(list, ngrams))))

    def _checked(self, changed: Mapping[str, Any]) -> Mapping[str, Any]:
        if "views" in changed and not isinstance(self.table, ViewsTable):
            raise ConfigError(
                f"--views: for a model whose documents have several identifiers, not for {self.table.scheme}; build some with "
                "`genir docids build --scheme views`"
            )
        foreign = [option_of(name) for name in changed if not hasattr(self.search, name)]
        if foreign:
            raise ConfigError(
                f"{', '.join(foreign)}: not for a model of n-grams, whose scores are log-probabilities put together by SEAL's "
                "formulas; of the decoding options it takes --num-beams"
            )
        return changed


def load_model_for(name: str, model: Path | None, device: str) -> TrainedModel:
    """The model folder that `--retriever NAME` searches, `generative` or `ngram`.

    Raises ConfigError where there is none, or where `ngram` is asked of a model that writes other identifiers.
    """
    if model is None:
        raise ConfigError(f"the {name} retriever needs a trained model: give --model DIR (made by `genir train`)")
    trained = TrainedModel.load(model, device)
    if name == "ngram" and not isinstance(trained.table, NgramTable):
        raise ConfigError(
            f"{model}: writes {trained.table.scheme} identifiers, not n-grams: search it with --retriever generative, or train one "
            "on identifiers of `genir docids build --scheme ngram`"
        )
    return trained


def _search_settings(table: Identifiers, config: Mapping[str, Any], where: str) -> GenerativeSettings | NgramSettings:
    """How a model was set to be searched, by the configuration in its manifest."""
    if isinstance(table, NgramTable):
        return from_mapping(NgramSettings, config["ngram"]["search"], where)
    settings = from_mapping(GenerativeSettings, config["search"], where)
    return ViewsSettings.of(settings, table.combined) if isinstance(table, ViewsTable) else settings
