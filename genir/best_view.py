"""Learning with several identifiers a document, of which the best shall answer: a text's target is chosen anew at every step.

A question is about one sentence of a document, and nobody says which. So of the identifiers of its document it is taught the one whose
codes already score it highest, by the model as it is at that step (the maximum in multiple-instance learning: Dietterich et al. 1997,
doi:10.1016/S0004-3702(96)00034-3); by codes alone a search that looks ahead picks it, too (`retrievers.views`). The others are no
negatives of it.

Shape letters: B texts, W identifiers of the document that has most, L identifier length, V identifier vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from genir.identifier_rows import IGNORED
from genir.models.code_decoder import CodeDecoder, EncodedText
from genir.objectives import RankingObjective, TrainingBatch
from genir.records import DocIDTokens
from genir.right_targets import RightTargets

_NONE = -1


class BestViewObjective(RankingObjective):
    """RankingObjective for batches whose targets number documents, not identifiers."""

    def __init__(
        self,
        model: CodeDecoder,
        identifiers: Sequence[DocIDTokens],
        prefixes: Sequence[int],
        hard_negatives: int,
        scale: float,
        views: Sequence[Sequence[int]],
        right: RightTargets,
    ) -> None:
        """`views[d]`: the identifiers of document d, one or more; `right` says which documents are right for each example."""
        super().__init__(model, identifiers, prefixes, hard_negatives, scale, _of_views(right, views))
        held = [torch.tensor(own) for own in views]
        self.views = torch.nn.utils.rnn.pad_sequence(held, batch_first=True, padding_value=_NONE).to(model.device)

    def loss(self, batch: TrainingBatch) -> Tensor:
        """See Objective."""
        text = self.model.encode(batch.input_ids, batch.attention_mask)
        return self.loss_of(text, replace(batch, targets=self.best(text, batch.targets)))

    @torch.no_grad()
    def best(self, text: EncodedText, documents: Tensor) -> Tensor:
        """Shape (B,): of the identifiers of documents (B,), the one whose codes alone score each text highest."""
        views = self.views[documents]
        tokens = self.identifiers[views.clamp(min=0)]  # (B, W, L)
        by_token = (text.pooled @ self.model.codes.weight.T).float()
        each = by_token.gather(1, tokens.clamp(min=0).flatten(1)).view(tokens.shape)
        scores = each.masked_fill(tokens == IGNORED, 0.0).sum(-1).masked_fill(views == _NONE, -torch.inf)
        return views.gather(1, scores.argmax(1, keepdim=True))[:, 0]


def _of_views(right: RightTargets, views: Sequence[Sequence[int]]) -> RightTargets:
    """Every view of every right document is right, and none is given as the target."""
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    rows = []
    for own, several in zip(right.own, right.right, strict=True):
        documents = several or (own,)
        if documents not in known:
            known[documents] = tuple(sorted(set(chain.from_iterable(views[one] for one in documents))))
        rows.append(known[documents])
    return RightTargets((_NONE,) * len(rows), tuple(rows))
