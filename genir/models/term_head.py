"""How much each term of a question matters, and in which documents: a small head on the states of a model's own encoder.

    s(q, d) = sum over occurrences o of terms t in q that d holds:  u(q, o) * w(d, t)
    u(q, o) = exp(log importance_t + f(h_o)),   h_o = mean encoder state of the tokens under o,   f(h_o) = 0 at the start

Importance, weights and f are learnt, the sets are not: they hold every word and phrase of a document, always. Before any training
s is BM25 with phrases (see genir.term_sets). Weighting a question's words by their context is uniCOIL's idea (Lin & Ma 2021,
arXiv:2106.14807) on the question's side; a set of terms beside a sequence of codes, scored by the same encoder, is PAG's (Zeng et
al. 2024, arXiv:2404.14600).

Shape letters: B texts, T tokens, O occurrences of known terms in all texts, N documents, V terms, E entries, D hidden size.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genir.errors import ArtefactError
from genir.lexicon import Lexicon
from genir.manifest import write_atomically, write_json
from genir.protocols import NextToken
from genir.term_sets import TermSets

_WEIGHTS, _SHAPE = "term_head.safetensors", "term_head.json"
_LOUDEST = 3.0  # |f| at most: a factor of 20

Spans = Sequence[Sequence[tuple[int, int]]]


class StateModel(Protocol):
    """A model whose encoder's states are to be had."""

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """The characters (start, end) under each token of each text; (0, 0) under special tokens."""
        ...

    def begin_with_states(self, texts: Sequence[str]) -> tuple[NextToken, Tensor]:
        """The step function of a search, and the encoder's states (B, T, D), float32."""
        ...


@dataclass(frozen=True, slots=True)
class Questions:
    """The known terms of B texts: which (O,), in whose text (O,), and the encoder's state there (O, D)."""

    size: int
    terms: Tensor
    texts: Tensor
    states: Tensor


class TermHead(nn.Module):
    """See the module. `hidden` is the width within f; `sequence_weight` what a search multiplies sequences' scores with."""

    pretrained: tuple[str, ...] = ()

    def __init__(self, sets: TermSets, state_size: int, hidden: int = 64) -> None:
        super().__init__()
        self.sets = sets
        self.state_size, self.hidden = state_size, hidden
        self.sequence_weight = 1.0
        self.lexicon = Lexicon(sets.settings.lexicon)
        self.numbers = {term: number for number, term in enumerate(sets.terms)}
        self.log_importance = nn.Parameter(sets.importance.clamp(min=1e-9).log())
        self.document_weights = nn.Parameter(sets.weights.clone())
        self.context = nn.Sequential(nn.Linear(state_size, hidden), nn.GELU(), nn.Linear(hidden, 1))
        for parameter in self.context[2].parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("pointers", sets.pointers, persistent=False)
        self.register_buffer("documents", sets.documents, persistent=False)
        self.pointers: Tensor
        self.documents: Tensor

    @property
    def nbytes(self) -> int:
        """Memory of sets and weights."""
        return self.sets.nbytes + sum(parameter.nbytes for parameter in self.parameters())

    def read(self, texts: Sequence[str], spans: Spans, states: Tensor) -> Questions:
        """The known terms of texts, with states (B, T, D) averaged over the tokens under each; none without a token."""
        terms: list[int] = []
        owners: list[int] = []
        ranges: list[tuple[int, int]] = []
        for row, (text, covered) in enumerate(zip(texts, spans, strict=True)):
            starts = [start for start, end in covered]
            ends = [end for start, end in covered]
            for found in self.lexicon.occurrences(text):
                number = self.numbers.get(found.term)
                if number is None:
                    continue
                under = [i for i in range(len(covered)) if starts[i] < found.end and ends[i] > found.start]
                if under:  # cut texts have terms without tokens
                    terms.append(number)
                    owners.append(row)
                    ranges.append((under[0], under[-1] + 1))
        device = states.device
        texts_of = torch.tensor(owners, dtype=torch.long, device=device)
        return Questions(
            len(texts), torch.tensor(terms, dtype=torch.long, device=device), texts_of, _means(states, texts_of, ranges)
        )

    def importance(self, asked: Questions) -> Tensor:
        """Shape (O,): u of every occurrence, differentiable."""
        heard = self.context(asked.states)[:, 0].clamp(-_LOUDEST, _LOUDEST)
        importance: Tensor = (self.log_importance[asked.terms] + heard).exp()
        return importance

    def forward(self, asked: Questions) -> Tensor:
        """Scores (B, N) of all documents, differentiable."""
        importance = self.importance(asked)
        first = self.pointers[asked.terms]
        counts = self.pointers[asked.terms + 1] - first
        occurrence = torch.repeat_interleave(counts)
        entries = torch.arange(len(occurrence), device=first.device) + (first - counts.cumsum(0) + counts)[occurrence]
        added = importance[occurrence] * self.document_weights[entries].relu()
        N = len(self.sets)
        places = asked.texts[occurrence] * N + self.documents[entries]
        return added.new_zeros(asked.size * N).index_add(0, places, added).view(asked.size, N)

    def save(self, folder: Path) -> None:
        """Write sets and weights."""
        self.sets.save(folder)
        shape = {"state_size": self.state_size, "hidden": self.hidden}
        write_json(folder / _SHAPE, shape | {"sequence_weight": self.sequence_weight})
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        write_atomically(folder / _WEIGHTS, lambda temporary: save_file(weights, temporary))

    @classmethod
    def load(cls, folder: Path) -> "TermHead":
        """What `save` wrote. Raises ArtefactError for anything missing or broken."""
        sets = TermSets.load(folder)
        try:
            shape = json.loads((folder / _SHAPE).read_text(encoding="utf-8"))
            head = cls(sets, int(shape["state_size"]), int(shape["hidden"]))
            head.sequence_weight = float(shape["sequence_weight"])
            head.load_state_dict(load_file(folder / _WEIGHTS))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ArtefactError(f"{folder}: no readable term head ({error}); train the terms again") from None
        return head.eval()


def _means(states: Tensor, texts: Tensor, ranges: Sequence[tuple[int, int]]) -> Tensor:
    """Means (O, D) of states (B, T, D) over token ranges of texts (O,)."""
    if not ranges:
        return states.new_zeros(0, states.shape[-1])
    first, last = torch.tensor(ranges, device=states.device).unbind(1)
    sums = torch.nn.functional.pad(states.cumsum(1), (0, 0, 1, 0))
    return (sums[texts, last] - sums[texts, first]) / (last - first)[:, None]
