"""Folders of identifiers of any kind: one a document (DocIDTable), one for each of its views (ViewsTable), or all of its n-grams
(NgramTable).

What differs between them stands here: their files, their diagnostics, and how a model that writes them is searched.
"""

from pathlib import Path
from typing import Any

import numpy as np

from docids.ngram import NAME, NGRAMS, NgramTable
from docids.ngram_quality import diagnose_ngrams
from docids.quality import diagnose
from docids.table import FILES as TABLE_FILES
from docids.table import DocIDTable
from docids.views import NAME as VIEWS_NAME
from docids.views import VIEWS, ViewsTable
from genir.models.term_head import TermHead
from genir.records import DocIDTokens
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.ngram import NgramRetriever, NgramSettings
from retrievers.planning import PlanningRetriever
from retrievers.views import PlanningViewsRetriever, ViewsRetriever, ViewsSettings

Identifiers = DocIDTable | NgramTable | ViewsTable
FILES = (*TABLE_FILES, NGRAMS, VIEWS)


def load_identifiers(folder: Path) -> Identifiers:
    """What `save` of any kind wrote. Raises ArtefactError, with the file, for anything missing or broken."""
    table = DocIDTable.load(folder)
    if table.scheme == NAME:
        return NgramTable.over(table, folder)
    return ViewsTable.over(table, folder) if table.scheme == VIEWS_NAME else table


def one_each(table: Identifiers) -> DocIDTable:
    """The table with one identifier a document: that of first views, of whole documents, or the table itself."""
    return table if isinstance(table, DocIDTable) else table.documents


def identifiers_of_each(table: DocIDTable | ViewsTable) -> list[tuple[DocIDTokens, ...]]:
    """Per document, in corpus order, all identifiers that it has."""
    if isinstance(table, ViewsTable):
        return [tuple(view.tokens for view in views) for views in table.views.values()]
    return [(tokens,) for tokens in table.tokens.values()]


def save_identifiers(table: Identifiers, folder: Path) -> None:
    """Write `table` into `folder`; files of other kinds, of an earlier table there, are removed."""
    if not isinstance(table, NgramTable):
        (folder / NGRAMS).unlink(missing_ok=True)
    if not isinstance(table, ViewsTable):
        (folder / VIEWS).unlink(missing_ok=True)
    table.save(folder)


def diagnose_identifiers(table: Identifiers, vectors: np.ndarray | None = None) -> dict[str, Any]:
    """Figures to be read before any training; `vectors` (N, D) are embeddings of the documents, which n-grams have no use for.

    Of views, those of the first of each document, beside its embedding where that view is the whole document; the others are counted
    among the facts.
    """
    if isinstance(table, NgramTable):
        return diagnose_ngrams(table)
    whole = not isinstance(table, ViewsTable) or all(own[0].kind == "document" for own in table.views.values())
    return diagnose(one_each(table), vectors if whole else None)


def make_searcher(
    model: Any, table: Identifiers, settings: GenerativeSettings | NgramSettings, terms: TermHead | None = None
) -> GenerativeRetriever | NgramRetriever:
    """A model's search over its identifiers; `settings` are those of the kind that `table` is. With `terms` it plans ahead."""
    if isinstance(table, NgramTable):
        assert isinstance(settings, NgramSettings)
        return NgramRetriever(model, table.index, table.doc_ids, settings)
    assert isinstance(settings, GenerativeSettings)
    with_terms = terms if settings.terms else None
    if isinstance(table, ViewsTable):
        combined = ViewsSettings.of(settings, table.combined)
        if with_terms is not None:
            return PlanningViewsRetriever(model, table, with_terms, combined)
        return ViewsRetriever(model, table, combined)
    if with_terms is not None:
        return PlanningRetriever(model, table, with_terms, settings)
    return GenerativeRetriever(model, table, settings)
