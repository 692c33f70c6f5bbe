"""The joint model as what `rag.answering` asks one after the other, a retriever and a reader, in one generation.

Searching generates the answers, too; reading gives what was generated where it is asked the same question with the passage that was found,
and reads otherwise. What is given is what `JointModel.read` would give, without reading the prompt again.

Invariant: only the last search is remembered.
"""

from collections.abc import Sequence
from typing import Any

from genir.records import DocIDTokens, Document, Query, Run
from rag.joint.model import JointModel
from rag.reading import Reading


class JointAnswerer:
    """A genir.protocols.Retriever and IdentifierWriter, and a rag.reading.Reader, over one joint model."""

    def __init__(self, model: JointModel) -> None:
        self.model = model
        self._said: dict[tuple[str, str], Reading] = {}  # question, doc_id of the best passage

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    def with_settings(self, **changed: Any) -> "JointAnswerer":
        """The same weights under other settings (rag.joint.config.JointSettings)."""
        return JointAnswerer(self.model.with_settings(**changed))

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query, and the answers from the best ones, kept for `read`."""
        generations = self.model.generate([query.text for query in queries], k)
        pairs = list(zip(queries, generations, strict=True))
        self._said = {(query.text, one.ranking[0].doc_id): one.reading for query, one in pairs if one.ranking}
        return Run(self.name, {query.query_id: one.ranking for query, one in pairs})

    def written(self, doc_ids: Sequence[str]) -> dict[str, tuple[DocIDTokens, str]]:
        """The identifiers of documents, in tokens and in words."""
        return self.model.written(doc_ids)

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question, from its best passage; what the last search generated where it is that."""
        pairs = list(zip(questions, passages, strict=True))
        readings = [self._said.get((text, found[0].doc_id)) if found else None for text, found in pairs]
        rows = [row for row, reading in enumerate(readings) if reading is None]
        read = self.model.read([questions[row] for row in rows], [passages[row] for row in rows])
        anew = dict(zip(rows, read, strict=True))
        return [anew[row] if reading is None else reading for row, reading in enumerate(readings)]
