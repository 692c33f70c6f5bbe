"""What a model with terms knows of a question and any of its documents, and the reranker that a trained head makes of it.

Everything comes from the model's folder: codes, terms, titles. Nothing is read of a document's text.

    base                  what planning ahead scores: weight * (logits of the codes) + terms
    codes, first, least   logits of all codes, of the first half of them, of the least likely
    plain                 the same without the decoder's correction: the quantised dense index
    words, phrases        what learnt terms of either kind score
    start_words, ...      and by the weights that they started from, BM25's
    matched_...           the share of the question's importance, word by word or phrase by phrase, that the document holds
    missed                the most important word that it does not hold, beside the most important one of the question
    in_title, of_title    the share of the question's importance that stands in the title; of the title's words, in the question
    length                log of the distinct words

Invariant: a pair's features do not depend on the other pairs. Known gap: a term of the question beyond the tokens that the encoder
reads is not seen.

Shape letters: B questions, M documents of one, O occurrences of known terms in one, L codes, F features, N documents of all.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor
from tqdm import tqdm

from genir.devices import autocast
from genir.errors import ArtefactError
from genir.identifier_rows import IGNORED, pad_identifiers
from genir.lexicon import is_phrase
from genir.models.code_decoder import CodeDecoder
from genir.models.rerank_head import RerankHead
from genir.models.term_head import TermHead
from retrievers.planning import PlanningRetriever
from retrievers.rerank import Pair

FEATURES = (
    *("codes", "first", "least", "plain", "words", "phrases", "start_words", "start_phrases"),
    *("matched_words", "matched_phrases", "missed", "in_title", "of_title", "length"),
)


class ModelFeatures:
    """Features of questions with documents, by a model with terms; `titles` are {doc_id: title}."""

    def __init__(self, planning: PlanningRetriever, titles: Mapping[str, str], batch_size: int = 16) -> None:
        """Raises ArtefactError for a model whose scores are not made of codes."""
        if not isinstance(planning.model, CodeDecoder):
            raise ArtefactError("a rerank head is for a code_decoder with terms: train one, and its terms")
        self.model: CodeDecoder = planning.model
        self.planning, self.titles, self.batch_size = planning, titles, batch_size

    @property
    def head(self) -> TermHead:
        """The model's terms."""
        return self.planning.head

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """doc_id -> its number among the terms' documents."""
        return {doc_id: number for number, doc_id in enumerate(self.head.sets.doc_ids)}

    @cached_property
    def identifiers(self) -> Tensor:
        """Shape (N, L): every document's codes."""
        tokens = self.planning.identifiers.tokens
        return pad_identifiers([tokens[doc_id] for doc_id in self.numbers], self.model.end_token).to(self.model.device)

    @cached_property
    def _phrases(self) -> Tensor:
        """Shape (terms,), bool."""
        return torch.tensor([is_phrase(term) for term in self.head.sets.terms], device=self.model.device)

    @cached_property
    def _entries(self) -> Tensor:
        """Shape (entries,): term * N + document of every entry, ascending."""
        counts = self.head.pointers.diff()
        terms = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        return terms * len(self.numbers) + self.head.documents

    @cached_property
    def _lengths(self) -> Tensor:
        """Shape (N,): log of the distinct words of each document."""
        N = len(self.numbers)
        words = self._entries[~self._phrases[self._entries // N]] % N
        return torch.bincount(words, minlength=N).float().log1p()

    @cached_property
    def _title_words(self) -> list[frozenset[int]]:
        """Per document the numbers of its title's words."""
        lexicon, numbers = self.head.lexicon, self.head.numbers
        return [
            frozenset(
                numbers[one.term]
                for one in lexicon.occurrences(self.titles.get(doc_id, ""))
                if not one.is_phrase and one.term in numbers
            )
            for doc_id in self.numbers
        ]

    @torch.inference_mode()
    def of(self, texts: Sequence[str], documents: Sequence[Sequence[str]]) -> list[tuple[Tensor, Tensor]]:
        """For each text and its doc_ids: base scores (M,) and features (M, F), on the CPU.

        Raises ArtefactError for a doc_id that the model does not know.
        """
        found: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0, len(FEATURES)))] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        for start in tqdm(range(0, len(order), self.batch_size), desc="features", delay=2, leave=False):
            part = [i for i in order[start : start + self.batch_size] if documents[i]]
            if part:
                batch = self._batch([texts[i] for i in part], [self._numbered(documents[i]) for i in part])
                for i, one in zip(part, batch, strict=True):
                    found[i] = one
        return found

    def _numbered(self, documents: Sequence[str]) -> Tensor:
        unknown = next((doc_id for doc_id in documents if doc_id not in self.numbers), None)
        if unknown is not None:
            raise ArtefactError(
                f"document {unknown!r} is not among the {len(self.numbers)} that the model knows: give the data folder that it was "
                "made from"
            )
        return torch.tensor([self.numbers[doc_id] for doc_id in documents], device=self.model.device)

    def _batch(self, texts: Sequence[str], documents: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        model, head = self.model, self.head
        text = model.read(texts)
        asked = head.read(texts, model.token_spans(texts), text.hidden.float())
        importance = head.importance(asked)
        identifiers = torch.full((len(texts), max(map(len, documents)), self.identifiers.shape[1]), IGNORED)
        identifiers = identifiers.to(model.device)
        for row, numbers in enumerate(documents):
            identifiers[row, : len(numbers)] = self.identifiers[numbers]
        with autocast(model.device, model.precision):
            logits = model.token_scores(text, identifiers).float()
        plain = (text.pooled[:, None, None] * model.codes(identifiers.clamp(min=0))).sum(-1)
        plain = plain.masked_fill(identifiers == IGNORED, 0.0).sum(-1)
        half = (identifiers.shape[2] + 1) // 2
        made = []
        for row, numbers in enumerate(documents):
            here = asked.texts == row
            codes = logits[row, : len(numbers)]
            terms, columns = self._terms(asked.terms[here], importance[here], numbers)
            least = codes.masked_fill(identifiers[row, : len(numbers)] == IGNORED, torch.inf).amin(1)
            sequence = [codes.sum(1), codes[:, :half].sum(1), least, plain[row, : len(numbers)]]
            base = head.sequence_weight * sequence[0] + terms
            features = torch.stack([*sequence, *columns, self._lengths[numbers]], 1)
            made.append((base.cpu(), features.float().cpu()))
        return made

    def _terms(self, terms: Tensor, importance: Tensor, numbers: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What terms (O,) of a question score documents (M,), and the features that come of terms and titles, (M,) each."""
        sets = self.head.sets
        wanted = terms[:, None] * len(self.numbers) + numbers
        places = torch.searchsorted(self._entries, wanted).clamp(max=len(self._entries) - 1)
        held = self._entries[places] == wanted  # (O, M)
        device = held.device
        learnt = importance[:, None] * self.head.document_weights[places].relu() * held
        first = sets.importance.to(device)[terms][:, None] * sets.weights.to(device)[places] * held
        phrase = self._phrases[terms]
        u = importance[:, None]
        words, phrases = ~phrase[:, None] * u, phrase[:, None] * u  # (O, 1)
        missed = (words * ~held).amax(0) if len(terms) else held.new_zeros(len(numbers), dtype=torch.float32)
        most = words.max() if len(terms) else u.new_tensor(0.0)
        columns = [
            learnt[~phrase].sum(0),
            learnt[phrase].sum(0),
            first[~phrase].sum(0),
            first[phrase].sum(0),
            _share((words * held).sum(0), words.sum()),
            _share((phrases * held).sum(0), phrases.sum()),
            _share(missed, most),
            *self._title(terms, words[:, 0], numbers),
        ]
        return learnt.sum(0), columns

    def _title(self, terms: Tensor, words: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """in_title and of_title, (M,) each, for words' importance (O,), 0 for phrases."""
        weigh: dict[int, float] = {}
        for term, value in zip(terms.tolist(), words.tolist(), strict=True):
            if value:
                weigh[term] = weigh.get(term, 0.0) + value
        total = sum(weigh.values())
        titles = [self._title_words[number] for number in numbers.tolist()]
        inside = [sum(weigh[term] for term in title if term in weigh) / total if total else 0.0 for title in titles]
        of = [sum(term in weigh for term in title) / len(title) if title else 0.0 for title in titles]
        return torch.tensor(inside, device=words.device), torch.tensor(of, device=words.device)


class HeadScorer:
    """A `retrievers.rerank.PairScorer`: a trained head over a model's own features. Of a document only the doc_id is used."""

    name = "head"

    def __init__(self, features: ModelFeatures, head: RerankHead) -> None:
        """Raises ArtefactError for a head that was trained on other features."""
        if head.features != FEATURES:
            raise ArtefactError(
                f"the rerank head knows {len(head.features)} features, this version has {len(FEATURES)} others: train it again with "
                "`genir train-rerank`"
            )
        self.features, self.head = features, head

    @property
    def nbytes(self) -> int:
        """See PairScorer; the model beneath is not counted: it searches, too."""
        return self.head.nbytes

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See PairScorer."""
        places: dict[str, list[int]] = {}
        for place, (question, _) in enumerate(pairs):
            places.setdefault(question, []).append(place)
        found = self.features.of(list(places), [[pairs[i][1].doc_id for i in own] for own in places.values()])
        scores = [0.0] * len(pairs)
        for own, (base, features) in zip(places.values(), found, strict=True):
            for place, score in zip(own, self.head(base, features).tolist(), strict=True):
                scores[place] = score
        return scores


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Zero where there is no whole."""
    return torch.where(whole > 0, part / whole.clamp(min=1e-9), 0.0)
