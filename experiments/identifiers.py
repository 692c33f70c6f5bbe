"""Folders of identifiers of either kind: one identifier a document (DocIDTable), or all of its n-grams (NgramTable).

What differs between the two stands here: their files, their diagnostics, and how a model that writes them is searched.
"""

from pathlib import Path
from typing import Any

import numpy as np

from docids.ngram import NAME, NGRAMS, NgramTable
from docids.ngram_quality import diagnose_ngrams
from docids.quality import diagnose
from docids.table import FILES as TABLE_FILES
from docids.table import DocIDTable
from genir.models.term_head import TermHead
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.ngram import NgramRetriever, NgramSettings
from retrievers.planning import PlanningRetriever

Identifiers = DocIDTable | NgramTable
FILES = (*TABLE_FILES, NGRAMS)


def load_identifiers(folder: Path) -> Identifiers:
    """What `save` of either kind wrote. Raises ArtefactError, with the file, for anything missing or broken."""
    table = DocIDTable.load(folder)
    return NgramTable.over(table, folder) if table.scheme == NAME else table


def save_identifiers(table: Identifiers, folder: Path) -> None:
    """Write `table` into `folder`; files of the other kind, of an earlier table there, are removed."""
    if not isinstance(table, NgramTable):
        (folder / NGRAMS).unlink(missing_ok=True)
    table.save(folder)


def diagnose_identifiers(table: Identifiers, vectors: np.ndarray | None = None) -> dict[str, Any]:
    """Figures to be read before any training; `vectors` (N, D) are embeddings of the documents, which n-grams have no use for."""
    return diagnose_ngrams(table) if isinstance(table, NgramTable) else diagnose(table, vectors)


def make_searcher(
    model: Any, table: Identifiers, settings: GenerativeSettings | NgramSettings, terms: TermHead | None = None
) -> GenerativeRetriever | NgramRetriever:
    """A model's search over its identifiers; `settings` are those of the kind that `table` is. With `terms` it plans ahead."""
    if isinstance(table, NgramTable):
        assert isinstance(settings, NgramSettings)
        return NgramRetriever(model, table.index, table.doc_ids, settings)
    assert isinstance(settings, GenerativeSettings)
    if terms is not None and settings.terms:
        return PlanningRetriever(model, table, terms, settings)
    return GenerativeRetriever(model, table, settings)
