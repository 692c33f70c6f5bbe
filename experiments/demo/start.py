"""What `genir serve` is started on: the user's own data and model, the demo's folder, or atlas made on the spot."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.atlas import build_atlas
from experiments.demo.examples import ATLAS_EXAMPLES, chinese_articles, examples_of
from experiments.demo.library import Holdings, reader_labels
from experiments.reading import default_generator_in, joint_folder, span_ships
from experiments.training.model import MADE_BY, STAGE
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ArtefactError, ConfigError
from genir.formats import load_dataset
from genir.manifest import read_manifest
from genir.records import Dataset
from rag.template import LANGUAGES

_READER = "reader"  # the folder of the demo's own


def find_holdings(
    data: Path | None,
    model: Path | None,
    generators: Sequence[str],
    demo: Path,
    encoder: str = DEFAULT_ENCODER,
    cache: Path | None = None,
    device: str = "auto",
) -> Holdings:
    """The user's own where `data` is given, else atlas: with what `genir demo` left in `demo`, or by BM25 alone.

    Raises ArtefactError for a model without its data, and for folders that are unfinished; ConfigError for a joint model without its data.
    """
    if data is not None:
        found = _own(data, model, generators)
    elif model is not None:
        raise ArtefactError(f"--model {model}: give --data DIR too, the data folder that it was trained on")
    else:
        found = _atlas(demo, generators)
    joint = [generator for generator in generators if joint_folder(generator) is not None]
    if joint and found.data is None:
        raise ConfigError(f"--generator {joint[0]}: give --data DIR too, the data folder that it was trained on")
    return replace(found, encoder=encoder, cache=cache or found.cache, device=device)


def _own(data: Path, model: Path | None, generators: Sequence[str]) -> Holdings:
    dataset = load_dataset(data)
    if model is not None:
        read_manifest(model, STAGE, MADE_BY)
    hint = "" if model else "For the generative retriever, train a model on these data (genir train) and give --model."
    readers, by_language = _readers(generators), _reader_in(generators)
    return Holdings(dataset, data, model, readers, examples_of(dataset), hint, reader_in=by_language)


def _atlas(demo: Path, generators: Sequence[str]) -> Holdings:
    """Atlas, with a few articles in Chinese that only the lexical and dense retrievers know."""
    model, by_language = demo / "model", _reader_in(generators)
    try:
        read_manifest(model, STAGE, MADE_BY)
        dataset = load_dataset(demo / "data")
    except ArtefactError:
        dataset = _with_chinese(build_atlas().dataset)
        hint = f"For the generative retriever and its tree, run once: genir demo --out {demo}"
        return Holdings(dataset, None, None, _readers(generators), ATLAS_EXAMPLES, hint, reader_in=by_language)
    own = [str(demo / _READER)] if (demo / _READER / "manifest.json").is_file() else []
    cache = demo / "cache"
    return Holdings(
        _with_chinese(dataset),
        demo / "data",
        model,
        _readers(generators, own),
        ATLAS_EXAMPLES,
        cache=cache if cache.is_dir() else None,
        retriever_in={"zh": "bm25"},  # the model's index lacks the articles in Chinese
        reader_in=by_language,
    )


def _with_chinese(dataset: Dataset) -> Dataset:
    return replace(dataset, name="atlas", corpus=(*dataset.corpus, *chinese_articles()))


def _readers(generators: Sequence[str], own: Sequence[str] = ()) -> dict[str, str]:
    """What the user named comes first, then `span` where its weights ship, the demo's `own`, and what is always there."""
    ships = ["span"] if span_ships() else []
    return reader_labels(list(dict.fromkeys([*generators, *ships, *own, "extractive"])))


def _reader_in(generators: Sequence[str]) -> dict[str, str]:
    """The default reader of questions that are not in English; none where the user named what is to read them all."""
    return {} if generators else {one: default_generator_in(one) for one in LANGUAGES if one != "en"}
