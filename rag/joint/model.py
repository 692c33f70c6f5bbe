"""One causal model that writes the identifier of its evidence, is given that passage, and answers: one sequence, one generation.

Prior art: CorpusLM writes identifiers, references and the answer in one greedy decoding (Li et al. 2024, "CorpusLM: Towards a Unified
Language Model on Corpus for Knowledge-Intensive Tasks", SIGIR 2024, arXiv:2402.01176); RetroLLM writes the evidence itself under an
FM-index's constraint (Li et al. 2024, "RetroLLM: Empowering Large Language Models to Retrieve Fine-grained Evidence within Generation",
arXiv:2412.11919). Here the constraint is over identifiers, searched with beams, so that there is a ranking; the passage is put into the
sequence, not written; and the answer may be bound to be copied from it.

The same weights are a Retriever (the ranking of the beams), a Reader (a given passage, its identifier forced) and both at once
(`generate`). Any Hugging Face causal language model will do, adapters included (`genir.models.causal`).

Invariants: only identifiers of the constraint are written; what `generate` answers is what `read` answers from the passage that it found;
without a passage the model abstains, since it has learnt to answer behind evidence only.

Known gaps: one passage is read, the best one; of documents under one identifier that is the first by doc_id. A passage that has no
identifier (another corpus', a changed one) is read without one, which was not learnt. The prompt is read with the
network's plain weights, not with the packed twin of `CausalModel.begin`. A network that does more to its last states than to project them
(scaled or capped logits) needs identifiers in its own text tokens.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from genir.beam_search import DecodingSettings, Hypothesis, search
from genir.config import from_mapping
from genir.errors import ArtefactError, ConfigError, DataError, GenirError
from genir.manifest import write_json
from genir.models.causal import CausalModel
from genir.models.language_head import has_plain_head
from genir.protocols import Constraint, DocIDMap
from genir.records import DocIDTokens, Document, Query, Run, ScoredDoc
from rag.joint.config import JointSettings
from rag.joint.copying import CopyLimit
from rag.joint.decoding import Continuation, Written, begin
from rag.joint.sequence import Evidence, SequenceWriter
from rag.reading import Reading

SETTINGS_FILE = "joint.json"
Spell = Callable[[DocIDTokens], str]


@dataclass(frozen=True, slots=True)
class JointGeneration:
    """What one generation gave: the ranking (score: log-probability of the identifier), the identifier that was read on from, the answer.

    Nothing is found for a blank question: then the ranking is empty and the reading an abstention.
    """

    ranking: tuple[ScoredDoc, ...]
    docid_tokens: DocIDTokens
    reading: Reading


class JointModel:
    """A genir.protocols.Retriever and IdentifierWriter, and a rag.reading.Reader.

    `constraint` holds the identifiers of `docids`, each with the model's end token behind it where it has one; `passages` are the corpus by
    doc_id; `spell` says an identifier in words.
    """

    name = "joint"

    def __init__(
        self,
        causal: CausalModel,
        constraint: Constraint,
        docids: DocIDMap,
        passages: Mapping[str, Document],
        settings: JointSettings | None = None,
        spell: Spell | None = None,
    ) -> None:
        self.causal, self.constraint, self.docids, self.passages = causal, constraint, docids, passages
        self.settings = settings or JointSettings()
        self.spell = spell

    def with_settings(self, **changed: Any) -> "JointModel":
        """The same weights under other settings."""
        settings = replace(self.settings, **changed)
        return JointModel(self.causal, self.constraint, self.docids, self.passages, settings, self.spell)

    @cached_property
    def writer(self) -> SequenceWriter:
        """What makes tokens of texts. Raises ConfigError for a network that cannot write both identifiers and text."""
        if self.causal.own_embedding is not None and not has_plain_head(self.causal.network):
            raise ConfigError(
                "this network scales or caps its logits, so that answers need identifiers in its own text tokens: build them with "
                "--scheme title or url and its tokenizer"
            )
        return SequenceWriter(self.causal, self.settings)

    # --- both at once -------------------------------------------------------------------------------------------------

    def generate(self, questions: Sequence[str], k: int = 10) -> list[JointGeneration]:
        """For each question at most k documents, and the answer from the best one's passage, in one generation.

        Raises DataError where a found document has no passage, ConfigError where a sequence has no room in the network.
        """
        nothing = Reading(self.settings.unknown, abstained=True)
        done = {row: JointGeneration((), (), nothing) for row in range(len(questions))}
        for rows in self._batches(questions):
            texts = [questions[row] for row in rows]
            found, continuation = self._search(texts)
            rankings = [self._ranking(one) for one in found]
            best = [self._passage(ranking[0].doc_id) for ranking in rankings]
            identifiers = [self.docids.tokens_of(passage.doc_id) for passage in best]
            readings = self._answers(continuation, texts, identifiers, best)
            for row, ranking, tokens, reading in zip(rows, rankings, identifiers, readings, strict=True):
                done[row] = JointGeneration(ranking[:k], tokens, reading)
        return [done[row] for row in range(len(questions))]

    # --- a retriever --------------------------------------------------------------------------------------------------

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query, by the log-probability of their identifiers; none for a blank query."""
        if k < 1:
            raise ConfigError(f"k = {k}: expected at least 1 document")
        rankings: dict[str, tuple[ScoredDoc, ...]] = {query.query_id: () for query in queries}
        for rows in self._batches([query.text for query in queries]):
            found, _ = self._search([queries[row].text for row in rows])
            for row, one in zip(rows, found, strict=True):
                rankings[queries[row].query_id] = self._ranking(one)[:k]
        return Run(self.name, rankings)

    def written(self, doc_ids: Sequence[str]) -> dict[str, tuple[DocIDTokens, str]]:
        """The identifiers of documents, in tokens and in words."""
        tokens = {doc_id: self.docids.tokens_of(doc_id) for doc_id in doc_ids}
        return {doc_id: (one, self.spell(one) if self.spell else "") for doc_id, one in tokens.items()}

    # --- a reader -----------------------------------------------------------------------------------------------------

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question, from its best passage, behind the passage's identifier; an abstention where there is none."""
        readings = [Reading(self.settings.unknown, abstained=True) for _ in questions]
        asked = [question if found else "" for question, found in zip(questions, passages, strict=True)]
        for rows in self._batches(asked):
            best = [passages[row][0] for row in rows]
            texts = [questions[row] for row in rows]
            _, continuation = begin(self.writer, self.writer.prompts(texts))
            identifiers = [self._identifier(passage.doc_id) for passage in best]
            for row, reading in zip(rows, self._answers(continuation, texts, identifiers, best), strict=True):
                readings[row] = reading
        return readings

    # --- keeping ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """The causal model's files and joint.json; not the identifiers and passages, which are the caller's."""
        self.causal.save(folder)
        write_json(folder / SETTINGS_FILE, asdict(self.settings))

    @classmethod
    def load(
        cls,
        folder: Path,
        constraint: Callable[[CausalModel], Constraint],
        docids: DocIDMap,
        passages: Mapping[str, Document],
        spell: Spell | None = None,
    ) -> "JointModel":
        """What `save` wrote; `constraint` is made when the model's end token is known. Raises ArtefactError for another folder."""
        try:
            saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            values = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            settings = from_mapping(JointSettings, values, str(folder / SETTINGS_FILE))
            causal = CausalModel.load(folder, saved)
        except FileNotFoundError as error:
            raise ArtefactError(
                f"{error.filename}: no such file; expected a folder that a joint model was saved to"
            ) from None
        except (json.JSONDecodeError, KeyError, ConfigError) as error:
            raise ArtefactError(f"{folder}: not a joint model: {error!r}; train the model again") from None
        return cls(causal, constraint(causal), docids, passages, settings, spell)

    # --- how ----------------------------------------------------------------------------------------------------------

    def _batches(self, questions: Sequence[str]) -> list[list[int]]:
        """Places of the questions that are not blank; equal lengths together, the longest first."""
        asked = sorted(
            (row for row, text in enumerate(questions) if text.strip()), key=lambda row: -len(questions[row])
        )
        size = self.settings.batch_size
        return [asked[start : start + size] for start in range(0, len(asked), size)]

    def _search(self, texts: Sequence[str]) -> tuple[list[list[Hypothesis]], Continuation]:
        next_token, continuation = begin(self.writer, self.writer.prompts(texts))
        decoding = DecodingSettings(self.settings.num_beams, self.causal.scoring)
        return search(next_token, self.constraint, len(texts), decoding), continuation

    def _bare(self, tokens: DocIDTokens) -> DocIDTokens:
        """An identifier as it was written, without the model's end token."""
        return tokens if self.causal.end_token is None else tokens[:-1]

    def _ranking(self, found: Sequence[Hypothesis]) -> tuple[ScoredDoc, ...]:
        scores = {doc_id: one.score for one in found for doc_id in self.docids.documents_of(self._bare(one.tokens))}
        if not scores:
            raise GenirError(
                "the constraint allows identifiers that the table does not hold: build both from one table"
            )
        return Run.rank(scores, len(scores))

    def _identifier(self, doc_id: str) -> DocIDTokens | None:
        try:
            return self.docids.tokens_of(doc_id)
        except (KeyError, ArtefactError):
            return None

    def _passage(self, doc_id: str) -> Document:
        try:
            return self.passages[doc_id]
        except KeyError:
            raise DataError(
                f"the model found {doc_id!r}, which is not among the {len(self.passages)} passages: give the corpus that it was trained for"
            ) from None

    def _answers(
        self,
        continuation: Continuation,
        questions: Sequence[str],
        identifiers: Sequence[DocIDTokens | None],
        passages: Sequence[Document],
    ) -> list[Reading]:
        """Identifier and passage behind the prompts, and the answers behind these."""
        writer, settings = self.writer, self.settings
        evidence = writer.evidence(passages, questions)
        written_first = [[] if tokens is None else writer.identifier(tokens) for tokens in identifiers]
        rows = [tokens + one.ids for tokens, one in zip(written_first, evidence, strict=True)]
        longest = int(continuation.mask.sum(1).max()) + max(map(len, rows)) + settings.max_new_tokens
        writer.check_room(longest)
        limits: list[CopyLimit | None] = [None] * len(rows)
        if settings.copy:
            limits = [
                CopyLimit(one.text, question, writer.tokenizer, writer.end, writer.unknown)
                for one, question in zip(evidence, questions, strict=True)
            ]
        written = continuation.write(continuation.read(rows), limits)
        return [self._reading(*one) for one in zip(written, limits, evidence, strict=True)]

    def _reading(self, written: Written, limit: CopyLimit | None, evidence: Evidence) -> Reading:
        confidence = sum(written.logprobs) / len(written.logprobs)
        unknown = Reading(self.settings.unknown, abstained=True, confidence=confidence, shown=1)
        if written.tokens == self.writer.unknown:
            return unknown
        if limit is not None:
            place = limit.place(written.tokens)
            if place is None:  # cut by max_new_tokens: it stands nowhere as whole words, so there is nothing to cite
                return unknown
            return Reading(evidence.text[slice(*place)], confidence=confidence, passage=0, span=place, shown=1)
        text = self.writer.tokenizer.decode(written.tokens, skip_special_tokens=True).strip()
        if not text or text.casefold() == self.settings.unknown.casefold():
            return unknown
        return Reading(text, confidence=confidence, passage=0, shown=1)
