"""The ranking objective where a text has several right identifiers: all views of its document.

Each view is a target in its own example; the document's other views, and their prefixes, are no negatives of it.

Shape letters: B pairs, N identifiers, S other views of an identifier's documents (the most of any), M candidates, U prefixes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genir.models.code_decoder import CodeDecoder
from genir.objectives import RankingObjective
from genir.records import DocIDTokens


class ViewRankingObjective(RankingObjective):
    """See the module; `alike[i]` are the numbers of the identifiers that are right wherever identifier i is."""

    def __init__(
        self, model: CodeDecoder, identifiers: Sequence[DocIDTokens], alike: Sequence[Sequence[int]], *settings: Any
    ) -> None:
        """`settings` are those of RankingObjective, in its order."""
        super().__init__(model, identifiers, *settings)
        most = max(map(len, alike), default=0)
        padded = [[*others, *[number] * (most - len(others))] for number, others in enumerate(alike)]
        # Filled up with the identifier itself, which is never a negative of its own anyway.
        self.alike = torch.tensor(padded, dtype=torch.long, device=model.device).view(len(identifiers), most)

    def compared(self, scores: Tensor, own: Tensor, targets: Tensor) -> Tensor:
        """See RankingObjective."""
        spared = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, own[self.alike[targets]], True)
        spared.scatter_(1, own[targets][:, None], False)
        return scores.masked_fill(spared, -torch.inf)

    def candidates(self, scores: Tensor, targets: Tensor) -> Tensor:
        """See RankingObjective; -1 where so many documents have no wrong identifier left."""
        wrong = scores.scatter(1, self.alike[targets], -torch.inf)
        chosen = super().candidates(wrong, targets)
        kept = wrong.scatter(1, targets[:, None], -torch.inf).gather(1, chosen) > -torch.inf
        kept[:, 0] = True
        return chosen.masked_fill(~kept, -1)

    def against(self, scores: Tensor, candidates: Tensor) -> Tensor:
        """See RankingObjective."""
        others = self.alike[candidates[:, 0]]
        spared = torch.zeros_like(scores, dtype=torch.bool)
        for place, (_, own) in enumerate(self.tables):
            groups = own[candidates.clamp(min=0)]
            spared[..., place] = (groups[:, :, None] == own[others][:, None, :]).any(-1)
        spared[:, 0] = False
        return super().against(scores.masked_fill(spared, -torch.inf), candidates)
