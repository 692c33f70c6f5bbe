"""Learning how much terms matter: a head's weights against all documents, the rest of the model held still.

Weights alone are learnt: of a term in general, by its context in a question, and in each document. Which terms a document has is
not: its set is every word and phrase of it (see genir.term_sets), and none comes or goes, but that a weight below 0 counts as 0.

The encoder's states are read once for every example, so that an epoch costs seconds. Beside the terms' scores stand those that the
model's sequences would get without the decoder's correction, at a fixed weight: terms learn what sequences leave undone.

Invariant: an example's other right documents (genir.right_targets) are no negatives of it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from genir.models.code_decoder import CodeDecoder
from genir.models.term_head import Questions, TermHead
from genir.objectives import TrainingBatch, weighted_mean
from genir.records import DocIDTokens
from genir.right_targets import RightTargets
from genir.term_sets import TermSets

_READ_AT_ONCE = 64


class TermTrainee(nn.Module):
    """A head and a frozen model as `genir.training.train` wants them: a row of "tokens" are places in what was read."""

    pretrained = ()

    def __init__(self, head: TermHead, model: CodeDecoder, identifiers: Sequence[Sequence[DocIDTokens]]) -> None:
        """`identifiers[i]` are those of document i of the head's sets, of which the best counts."""
        super().__init__()
        self.head = head
        self._model = [model]  # hidden from `parameters`: it does not learn, and is saved elsewhere
        self._vectors = model.identifier_vectors([tokens for own in identifiers for tokens in own]).detach()
        owners = [document for document, own in enumerate(identifiers) for _ in own]
        self._owners = torch.tensor(owners, device=self._vectors.device)
        self.terms = torch.empty(0, dtype=torch.long)
        self.states = torch.empty(0, self._vectors.shape[1])
        self.pooled = torch.empty(0, self._vectors.shape[1])

    def untrained(self, sets: TermSets) -> TermHead:
        """A head as it starts, for other sets of the same documents, where this one's head is."""
        return TermHead(sets, self.head.state_size, self.head.hidden).to(self.head.log_importance.device)

    @torch.no_grad()
    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Read texts with the frozen encoder and return, for each, the places of its terms."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: list[Questions] = []
        self.pooled = self._vectors.new_empty(len(texts), self._vectors.shape[1])
        rows: list[list[int]] = [[] for _ in texts]
        count = 0
        for start in tqdm(range(0, len(order), _READ_AT_ONCE), desc="reading", delay=2, leave=False):
            batch = order[start : start + _READ_AT_ONCE]
            asked, self.pooled[batch] = self.ask([texts[i] for i in batch])
            for place, row in enumerate(asked.texts.tolist(), count):
                rows[batch[row]].append(place)
            count += len(asked.terms)
            found.append(Questions(asked.size, asked.terms, asked.texts, asked.states.bfloat16()))
        self.terms = torch.cat([one.terms for one in found])
        self.states = torch.cat([one.states for one in found])
        return rows

    @torch.no_grad()
    def ask(self, texts: Sequence[str]) -> tuple[Questions, Tensor]:
        """The terms of texts, and their pooled vectors (B, D)."""
        model = self._model[0]
        text = model.read(texts)
        return self.head.read(texts, model.token_spans(texts), text.hidden.float()), text.pooled.clone()

    def sequence_scores(self, pooled: Tensor) -> Tensor:
        """Shape (B, N): what texts' pooled vectors (B, D) score with every document's codes, the best of them where there are several."""
        scores = pooled @ self._vectors.T
        best = scores.new_full((len(scores), len(self.head.sets)), -torch.inf)
        return best.scatter_reduce(1, self._owners.expand(len(scores), -1), scores, "amax")

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Places and their mask, each (B, most)."""
        most = max(1, *map(len, rows))
        places = torch.zeros(len(rows), most, dtype=torch.long)
        for i, row in enumerate(rows):
            places[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask = torch.arange(most) < torch.tensor([len(row) for row in rows])[:, None]
        return places.to(self.terms.device), mask.to(self.terms.device)

    def questions(self, places: Tensor, mask: Tensor) -> Questions:
        """What `pad` packed."""
        texts, _ = mask.nonzero(as_tuple=True)
        chosen = places[mask]
        return Questions(len(places), self.terms[chosen], texts, self.states[chosen].float())


class TermObjective:
    """Softmax over all documents of terms' scores plus `sequence_weight` times sequences'."""

    def __init__(self, trainee: TermTrainee, right: RightTargets, sequence_weight: float) -> None:
        """`right` numbers the examples as the batches' `rows` do."""
        self.trainee = trainee
        self.right = right
        self.sequence_weight = sequence_weight

    def loss(self, batch: TrainingBatch) -> Tensor:
        """See genir.objectives.Objective."""
        assert batch.rows is not None
        trainee = self.trainee
        scores = trainee.head(trainee.questions(batch.input_ids, batch.attention_mask))
        if self.sequence_weight:
            scores = scores + self.sequence_weight * trainee.sequence_scores(trainee.pooled[batch.rows])
        pairs = self.right.pairs(batch.rows)
        if pairs is not None:
            scores = scores.index_put(pairs, scores.new_tensor(-torch.inf))
        return weighted_mean(F.cross_entropy(scores, batch.targets, reduction="none"), batch.weights)
