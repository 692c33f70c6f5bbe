"""The first two stages: a source -> a data folder -> a folder of identifiers, each with its manifest."""

import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docids.ngram import NgramTable
from docids.table import DocIDTable
from docids.vectors import corpus_vectors
from experiments.identifiers import (
    FILES,
    Identifiers,
    diagnose_identifiers,
    load_identifiers,
    one_each,
    save_identifiers,
)
from experiments.registry import make_scheme, parse_settings
from genir.embedding import TextEncoder
from genir.errors import DataError
from genir.formats import dataset_sha256, load_dataset, write_dataset
from genir.importers import import_source
from genir.inspection import inspect
from genir.manifest import MANIFEST, check_out, is_current, read_manifest, sha256_of, write_manifest
from genir.protocols import DocIDScheme
from genir.records import Dataset

MADE_BY = "genir docids build"
DOCIDS = "docids"  # the stage, and the folder within a model's
MOST_COLLISIONS = 0.1  # above it, nothing that follows can make up for it
NEED_EMBEDDINGS = ("neighbour_agreement", "reconstruction")


def import_data(source: str, out: Path, words: int | None = None) -> dict[str, Any]:
    """Import `source` into `out`. Raises DataError where `out` exists and holds anything."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists already; give a new folder, or remove it first")
    return write_data(import_source(source, words=words), out, {"source": source, "words": words})


def write_data(dataset: Dataset, out: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Write a data set and its manifest."""
    write_dataset(dataset, out)
    facts: dict[str, Any] = {
        "documents": len(dataset.corpus),
        "queries": len(dataset.queries),
        "splits": {split: len(qrels) for split, qrels in dataset.qrels.items()},
    }
    return write_manifest(out, "data", config, {"dataset": dataset_sha256(out)}, 0, **facts)


def inspect_data(folder: Path) -> dict[str, Any]:
    """What `genir data inspect` prints; judgements that point nowhere are counted, not refused."""
    return inspect(load_dataset(folder, strict=False))


def build_docids(
    data: Path, out: Path, scheme: str, settings: Sequence[str], encoder: str, cache: Path | None
) -> dict[str, Any]:
    """Assign identifiers to the corpus in `data`, unless `out` is current: of the same scheme and all its settings, said or not."""
    chosen = parse_settings(settings)
    made = make_scheme(scheme, chosen, encoder, cache)
    corpus = load_dataset(data).corpus
    config = {"scheme": scheme, "settings": _settings_of(made), "encoder": encoder}
    inputs = {"corpus": sha256_of(data / "corpus.jsonl")}
    embeds_with = getattr(made, "encoder", None)  # only schemes that embed documents have one
    if isinstance(embeds_with, TextEncoder):
        inputs["encoder"] = embeds_with.fingerprint()
    seed = chosen.get("seed", 0)
    if is_current(out, "docids", config, inputs, seed):
        return tell_reused(out, read_manifest(out, "docids", MADE_BY))
    check_out(out, FILES)
    vectors = None
    with _kept_embeddings(embeds_with):
        table = made.assign(corpus)
        if isinstance(embeds_with, TextEncoder):
            vectors = corpus_vectors(corpus, embeds_with)
    assert isinstance(table, Identifiers)
    (out / MANIFEST).unlink(missing_ok=True)  # from here on the folder is unfinished
    save_identifiers(table, out)
    figures = diagnose_identifiers(table, vectors)
    if isinstance(table, NgramTable):
        _warn_of_nameless(figures)
    else:
        _warn_of_collisions(figures)
        _warn_of_idle_codes(one_each(table), figures)
    return write_manifest(out, "docids", config, inputs, seed, **figures)


def _settings_of(scheme: DocIDScheme) -> dict[str, Any]:
    """Every field but the encoder, whose fingerprint is an input."""
    return {name: value for name, value in vars(scheme).items() if name not in ("name", "encoder")}


@contextmanager
def _kept_embeddings(encoder: object) -> Iterator[None]:
    """Let an encoder without a cache have one for a while: the diagnosis reads what the scheme has embedded."""
    if not isinstance(encoder, TextEncoder) or encoder.cache_dir is not None:
        yield
        return
    with TemporaryDirectory(prefix="genir-") as folder:
        encoder.cache_dir = Path(folder)
        try:
            yield
        finally:
            encoder.cache_dir = None


def tell_reused(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Say on stderr that a finished folder is taken as it is; returns its manifest."""
    print(
        f"{folder}: finished on {manifest['made_at'][:10]} from the same inputs and settings, reused", file=sys.stderr
    )
    return manifest


def _warn_of_collisions(figures: Mapping[str, Any]) -> None:
    sharing = round(figures["collision_rate"] * figures["documents"])
    if figures["collision_rate"] > MOST_COLLISIONS:
        warnings.warn(
            f"{sharing} of {figures['documents']} documents share their identifier with others, up to "
            f"{figures['largest_group']} of them: no search can tell these apart; take settings that keep identifiers distinct",
            stacklevel=2,
        )


def _warn_of_nameless(figures: Mapping[str, Any]) -> None:
    if figures["collision_rate"] > MOST_COLLISIONS:
        warnings.warn(
            f"{round(figures['collision_rate'] * figures['documents'])} of {figures['documents']} documents have no n-gram of up to "
            f"{figures['length']['max']} tokens to themselves: equal or nearly equal texts, which no search can tell apart",
            stacklevel=3,
        )


def _warn_of_idle_codes(table: DocIDTable, figures: Mapping[str, Any]) -> None:
    """No more documents (or views) than clusters of embeddings, and levels at which all have one code.

    The advice has room for all of them within two levels: codes ** 2 >= documents.
    """
    clusters, levels, views = table.codes_per_level, figures["levels"], table.facts.get("view_identifiers")
    if clusters is None or len(table) == 1 or "neighbour_agreement" not in figures:
        return
    number, what = len(table), "documents"
    if views is not None and not table.settings.get("document_levels"):  # else codes of documents come first
        number, what = views, "views"
    idle = sum(level["distinct"] == 1 for level in levels)
    fewer = max(2, math.ceil(number**0.5))
    faults = []
    if number <= clusters and fewer < clusters:
        faults.append("each is a cluster of its own, so that no prefix says what is near")
    if idle:
        faults.append(f"at {idle} of {len(levels)} levels all have one token, which tells nothing apart")
    if not faults:
        return
    if fewer >= clusters:
        advice = f"levels={max(1, len(levels) - idle)}"
    elif "branching" in table.settings:
        advice = f"branching={fewer}"
    else:
        advice = f"codes={fewer}" + (" --set levels=2" if len(levels) == 1 else "")
    warnings.warn(
        f"{number} {what} for {clusters} clusters a level: {'; '.join(faults)}; take fewer, e.g. --set {advice}",
        stacklevel=2,
    )


def inspect_table(
    folder: Path, data: Path | None = None, encoder: str = "", cache: Path | None = None
) -> dict[str, Any]:
    """What `genir docids inspect` prints, of a folder of identifiers or of those within a model's, learned ones among them.

    With the `data` that the identifiers were made for, its documents are embedded by `encoder` for the figures that
    need embeddings; without, these are there where the scheme had embedded the documents. Raises ArtefactError where
    `data` holds another corpus, or nothing vouches for the folder.
    """
    folder, manifest = _vouched(folder)
    table = load_identifiers(folder)
    if data is None:
        kept = {key: manifest["facts"][key] for key in NEED_EMBEDDINGS if key in manifest["facts"]}
        return diagnose_identifiers(table) | kept
    from experiments.training.model import check_same_corpus

    corpus = load_dataset(data, strict=False).corpus
    check_same_corpus(manifest, sha256_of(data / "corpus.jsonl"), folder, data)
    if isinstance(table, NgramTable):
        return diagnose_identifiers(table)
    return diagnose_identifiers(table, corpus_vectors(corpus, TextEncoder(encoder, cache_dir=cache)))


def _vouched(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Where the identifiers lie, and the manifest that vouches for them: their own, or that of the model they are part of."""
    from experiments.training.model import MADE_BY as MODEL_MADE_BY
    from experiments.training.model import STAGE as MODEL

    for model, docids in ((folder, folder / DOCIDS), (folder.parent, folder)):
        of_model = docids.name == DOCIDS and docids.is_dir() and not (docids / MANIFEST).is_file()
        if of_model and (model / MANIFEST).is_file():
            return docids, read_manifest(model, MODEL, MODEL_MADE_BY)
    made_by = f"{MADE_BY}` or, as a part of a model, `{MODEL_MADE_BY}" if folder.is_dir() else MADE_BY
    return folder, read_manifest(folder, DOCIDS, made_by)
