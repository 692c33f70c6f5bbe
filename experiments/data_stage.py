"""The first two stages: a source -> a data folder -> a folder of identifiers, each with its manifest."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docids.quality import diagnose
from docids.table import CODEBOOKS, DOCIDS, SCHEME, DocIDTable
from experiments.registry import make_scheme, parse_settings
from genir.embedding import TextEncoder
from genir.errors import DataError
from genir.formats import dataset_sha256, load_dataset, write_dataset
from genir.importers import import_source
from genir.inspection import inspect
from genir.manifest import MANIFEST, check_out, is_current, read_manifest, sha256_of, write_manifest
from genir.records import Dataset


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
    """Assign identifiers to the corpus in `data`, unless `out` is current; returns the manifest."""
    chosen = parse_settings(settings)
    made = make_scheme(scheme, chosen, encoder, cache)
    corpus = load_dataset(data).corpus
    config = {"scheme": scheme, "settings": chosen, "encoder": encoder}
    inputs = {"corpus": sha256_of(data / "corpus.jsonl")}
    embeds_with = getattr(made, "encoder", None)  # only schemes that embed documents have one
    if isinstance(embeds_with, TextEncoder):
        inputs["encoder"] = embeds_with.fingerprint()
    seed = chosen.get("seed", 0)
    if is_current(out, "docids", config, inputs, seed):
        return tell_reused(out, read_manifest(out, "docids", "genir docids build"))
    check_out(out, (DOCIDS, SCHEME, CODEBOOKS))
    table = made.assign(corpus)
    assert isinstance(table, DocIDTable)
    (out / MANIFEST).unlink(missing_ok=True)  # from here on the folder is unfinished
    table.save(out)
    figures = diagnose(table)
    _warn_of_idle_levels(figures)
    return write_manifest(out, "docids", config, inputs, seed, **figures)


def tell_reused(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Say on stderr that a finished folder is taken as it is; returns its manifest."""
    print(
        f"{folder}: finished on {manifest['made_at'][:10]} from the same inputs and settings, reused", file=sys.stderr
    )
    return manifest


def _warn_of_idle_levels(figures: Mapping[str, Any]) -> None:
    idle = sum(level["distinct"] == 1 for level in figures["levels"])
    if idle and figures["documents"] > 1:
        warnings.warn(
            f"at {idle} of {len(figures['levels'])} levels all {figures['documents']} documents have one token, which tells nothing "
            "apart: fewer levels or codes do, e.g. --set codes=16",
            stacklevel=2,
        )


def inspect_table(folder: Path) -> dict[str, Any]:
    """What `genir docids inspect` prints."""
    read_manifest(folder, "docids", "genir docids build")
    return diagnose(DocIDTable.load(folder))
