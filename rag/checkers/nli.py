"""Entailment as support: any Hugging Face sequence classifier that was trained on natural language inference.

    evidence (premise), claim (hypothesis)  ->  P(entailment), P(contradiction)

The order of a model's labels is read from its configuration, since models differ in it. A short answer is no hypothesis
by itself: where there is a question, the hypothesis is the question followed by the answer, as in QNLI-like use
(Demszky et al. 2018, arXiv:1809.02922, turn the pair into one sentence; that needs a model of its own, and is not done here).

Invariant: what a statement gets does not depend on the others of the batch but for rounding. Known gap: evidence beyond
`max_length` tokens, claim included, is not read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from genir.devices import Precision, autocast, pick_device
from genir.errors import ArtefactError
from genir.models.pair_classifier import load_pair_classifier
from rag.verification import NO_SUPPORT, Statement, Support

_ENTAILED = ("entailment", "entailed", "entails", "supported", "supports", "support")
_CONTRADICTED = ("contradiction", "contradicts", "contradicted", "contradict", "refuted", "refutes")


class NLIChecker:
    """See the module; the network, by hub name or folder, is loaded at the first statement."""

    def __init__(
        self,
        source: str,
        max_length: int = 384,
        batch_size: int = 16,
        precision: Precision = "auto",
        device: str = "auto",
    ) -> None:
        self.source = source
        self.max_length, self.batch_size = max_length, batch_size
        self.precision: Precision = precision
        self.device = device
        self._loaded: tuple[Any, Any, tuple[int, int | None]] | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"nli:{self.source}"

    def load(self) -> tuple[Any, Any, tuple[int, int | None]]:
        """(tokenizer, network, labels of entailment and of contradiction), loaded once.

        Raises ArtefactError where there is no sequence classifier, or none whose labels say which is entailment.
        """
        if self._loaded is None:
            tokenizer, network = load_pair_classifier(self.source, "NLI model", self.device)
            labels = entailment_labels(network.config.id2label, self.source)
            self._loaded = tokenizer, network, labels
        return self._loaded

    @torch.inference_mode()
    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """See SupportChecker."""
        found = [NO_SUPPORT] * len(statements)
        rows = [i for i, one in enumerate(statements) if one.claim.strip() and one.evidence.strip()]
        if not rows:
            return found
        tokenizer, network, (entailed, contradicted) = self.load()
        device = pick_device(self.device)
        longest = min(self.max_length, getattr(network.config, "max_position_embeddings", self.max_length))
        rows.sort(key=lambda i: len(statements[i].evidence))  # little padding
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            batch = tokenizer(
                [statements[i].evidence for i in part],
                [hypothesis(statements[i]) for i in part],
                padding=True,
                truncation="longest_first",
                max_length=longest,
                return_tensors="pt",
            ).to(device)
            with autocast(device, self.precision):
                logits = network(**batch).logits
            for i, row in zip(part, logits.float().softmax(-1).tolist(), strict=True):
                found[i] = Support(row[entailed], 0.0 if contradicted is None else row[contradicted])
        return found


def hypothesis(statement: Statement) -> str:
    """What the evidence is to entail: the claim, behind its question where there is one."""
    return f"{statement.question.strip()} {statement.claim.strip()}".strip()


def entailment_labels(id2label: Mapping[int, str], source: str) -> tuple[int, int | None]:
    """The numbers of the labels "entailment" and "contradiction" (None for a model of two labels without it).

    Raises ArtefactError where no label, or more than one, is called after entailment.
    """
    names = {int(number): label.casefold() for number, label in id2label.items()}
    entailed = [number for number, label in names.items() if label in _ENTAILED]
    contradicted = [number for number, label in names.items() if label in _CONTRADICTED]
    if len(entailed) != 1 or len(contradicted) > 1:
        listed = ", ".join(str(label) for label in id2label.values())
        raise ArtefactError(
            f"NLI model {source!r}: its labels are {listed}; expected one called entailment, as config.json's id2label says: "
            "name them there, or give a model that was trained on NLI"
        )
    return entailed[0], contradicted[0] if contradicted else None
