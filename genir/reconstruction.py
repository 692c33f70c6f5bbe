"""The model's side of identifiers that are learned with it: codes must rebuild their documents.

GenRet (Sun et al. 2023, arXiv:2304.04171) trains identifiers as a discrete auto-encoder. In the words of this package:

- retrieval loss (a query finds its identifier) and commitment loss (a document's text finds its own identifier, prefix
  by prefix) are the ranking objective on queries and on passages: `genir.objectives`;
- reconstruction loss (an identifier finds its own document among all, prefix by prefix) is added here.

Document vectors are those of the encoder at the beginning of a round and are held while it lasts, as a target network
is. So what is added here moves the codebooks alone: none of its gradient reaches the encoder, which the ranking objective
moves, and none changes a document's codes, which `docids.learned` assigns anew between rounds. In GenRet it reaches the
encoder, too. GenRet contrasts a document with those that
share its shorter prefix; here with all that do not share this one, because in a beam it competes with all.

Shape letters: B pairs, N documents, L identifier length, D hidden size.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genir.devices import autocast
from genir.embedding import mean_pool
from genir.models.code_decoder import CodeDecoder
from genir.objectives import Objective, StatefulObjective, TrainingBatch, weighted_mean
from genir.records import DocIDTokens


class ReconstructionObjective:
    """Another objective with the reconstruction loss of the batch's identifiers added, times `weight`.

    For every prefix length m: softmax over documents of scale * P_m . v, P_m being the sum of the first m code vectors
    and v a document's vector; other documents under the same prefix are no negatives of it. To that `commitment` times
    |v - P_L|^2 is added, which draws codes to their documents and keeps both on one scale; v is held, so that it is the
    codebooks' half of a commitment.
    """

    def __init__(
        self,
        base: Objective,
        model: CodeDecoder,
        identifiers: Sequence[DocIDTokens],
        vectors: np.ndarray,
        prefixes: Sequence[int] = (1, 2, 4),
        weight: float = 0.5,
        commitment: float = 1.0,
        scale: float = 20.0,
    ) -> None:
        self.base, self.model = base, model
        self.weight, self.commitment, self.scale = weight, commitment, scale
        self.identifiers = torch.tensor(list(identifiers), device=model.device)  # (N, L), all of one length
        self.vectors = torch.from_numpy(vectors).to(model.device)  # (N, D), in the order of the identifiers
        L = self.identifiers.shape[1]
        self.prefixes = tuple(sorted({m for m in prefixes if m < L} | {L}))
        # per prefix length, for every identifier: which of the distinct prefixes is its own (N,)
        self.groups = [torch.unique(self.identifiers[:, :m], dim=0, return_inverse=True)[1] for m in self.prefixes]

    def loss(self, batch: TrainingBatch) -> Tensor:
        """See Objective."""
        added = weighted_mean(self.reconstruction(batch.targets), batch.weights)
        return self.base.loss(batch) + self.weight * added

    def state_dict(self) -> dict[str, Tensor]:
        """The other objective's, where it has one; the document vectors belong to the round."""
        return self.base.state_dict() if isinstance(self.base, StatefulObjective) else {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave."""
        if isinstance(self.base, StatefulObjective):
            self.base.load_state_dict(state)

    def reconstruction(self, targets: Tensor) -> Tensor:
        """Shape (B,): the reconstruction loss of the documents `targets` (B,)."""
        prefix_sums: Tensor = self.model.codes(self.identifiers[targets]).float().cumsum(1)  # (B, L, D)
        losses = torch.zeros(len(targets), device=targets.device)
        for m, groups in zip(self.prefixes, self.groups, strict=True):
            same = groups[targets][:, None] == groups  # (B, N)
            same[torch.arange(len(targets), device=same.device), targets] = False  # the document itself stays
            scores = self.scale * (prefix_sums[:, m - 1] @ self.vectors.T).float()
            losses = losses + F.cross_entropy(scores.masked_fill(same, -torch.inf), targets, reduction="none")
        distances = (self.vectors[targets] - prefix_sums[:, -1]).square().sum(-1)
        return losses / len(self.prefixes) + self.commitment * distances


@torch.no_grad()
def document_vectors(
    model: CodeDecoder, texts: Sequence[str], max_tokens: int = 256, batch_size: int = 64
) -> np.ndarray:
    """Unit vectors (N, D) float32 of texts, cut at `max_tokens`, by the model's encoder as it is.

    The model is left in the mode it was in.
    """
    longest = min(max_tokens, getattr(model.encoder.config, "max_position_embeddings", max_tokens))
    rows = model.tokenizer(list(texts), truncation=True, max_length=longest, verbose=False)["input_ids"]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # equal lengths together: little padding
    vectors = np.zeros((len(rows), int(model.encoder.config.hidden_size)), dtype=np.float32)
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        input_ids, mask = model.pad([rows[i] for i in some])
        with autocast(model.device, model.precision):
            hidden = model.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        vectors[some] = mean_pool(hidden, mask).cpu().numpy()
    model.train(training)
    return vectors
